"""Where streams come from."""

from streamproxy.config import Config
from streamproxy.errors import UpstreamNotMedia
from streamproxy.model import DEMO_URL, Channel, Sink, Source, StreamFormat, StreamKind
from streamproxy.sources.client import Client
from streamproxy.sources.demo import DemoSource
from streamproxy.sources.hls import HlsSource
from streamproxy.sources.http import HttpSource


def source_of(channel: Channel, client: Client, config: Config) -> Source:
    """Make the source that reads a channel, without opening it."""
    upstream = channel.upstreams[0]
    if upstream.url == DEMO_URL:
        return DemoSource()
    live = HttpSource(upstream, client, config.relay)
    if channel.kind is StreamKind.LIVE:
        return live
    hls = HlsSource(upstream, client, config.options, config.relay, quality=channel.quality)
    return hls if channel.kind is StreamKind.HLS else UnknownSource(live, hls)


class UnknownSource:
    """Reads what may be a transport stream or HLS: its first bytes tell."""

    def __init__(self, live: Source, hls: Source) -> None:
        """Prepare.

        Args:
            live: Reads it as a transport stream.
            hls: Reads it as HLS.
        """
        self._hls = hls
        self._taken = live

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._taken.format

    async def run(self, sink: Sink) -> None:
        """Read until the upstream ends.

        Raises:
            UpstreamError: It failed, or is neither.
        """
        try:
            await self._taken.run(sink)
        except UpstreamNotMedia as error:
            if error.kind != StreamKind.HLS:
                raise
            self._taken = self._hls
            await self._hls.run(sink)
