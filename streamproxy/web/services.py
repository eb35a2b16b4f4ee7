"""The services that handlers find in the application, and the channel that a request names."""

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Feed
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.events import EventBus
from streamproxy.model import Channel
from streamproxy.playlist.library import Library
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.client import Client


class Settings(Protocol):
    """Where the settings in force are found; a reload replaces them."""

    @property
    def config(self) -> Config:
        """The settings in force."""


SETTINGS = web.AppKey("settings", Settings)
LIBRARY = web.AppKey("library", Library)
BROADCASTS = web.AppKey("broadcasts", BroadcastRegistry)
AUDIENCE = web.AppKey("audience", Audience)
EVENTS = web.AppKey("events", EventBus)
CLIENT = web.AppKey("client", Client)
ACCOUNTS = web.AppKey("accounts", Accounts)
OPEN_FEED: web.AppKey[Callable[[Channel], Feed]] = web.AppKey("open_feed")


def find_channel(request: web.Request, name: str) -> Channel:
    """Look a channel up by id.

    Raises:
        HTTPNotFound: There is none.
    """
    channel = request.app[LIBRARY].find(name)
    if channel is None:
        raise web.HTTPNotFound(text="Stream not found")
    return channel
