"""A stream proxy between IPTV providers and players."""

from importlib.metadata import version

__version__ = version("streamproxy")
