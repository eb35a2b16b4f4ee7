"""Where streams come from."""

from streamproxy.config import RelayConfig
from streamproxy.model import DEMO_URL, Source, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.demo import DemoSource
from streamproxy.sources.http import HttpSource


def source_of(upstream: Upstream, client: Client, relay: RelayConfig) -> Source:
    """Make the source that reads an upstream, without opening it."""
    if upstream.url == DEMO_URL:
        return DemoSource()
    return HttpSource(upstream, client, relay)
