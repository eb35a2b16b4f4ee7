"""Where streams come from."""

from collections.abc import Mapping

from streamproxy.config import Config, RelayConfig
from streamproxy.errors import UpstreamBroken, UpstreamNotMedia
from streamproxy.model import DEMO_URL, Channel, RelayMode, Sink, Source, StreamFormat, StreamKind, Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.demo import DemoSource
from streamproxy.sources.hls import HlsSource
from streamproxy.sources.http import HttpSource, Whereabouts
from streamproxy.sources.pages import PageResolver, PageSource


def source_of(
    channel: Channel,
    upstream: Upstream,
    client: Client,
    config: Config,
    pages: PageResolver,
    whereabouts: Whereabouts | None = None,
) -> Source:
    """Make the source that reads one upstream of a channel, without opening it.

    Args:
        channel: Whose upstream it is.
        upstream: What to read.
        client: What to read with.
        config: How.
        pages: Finds the streams of web pages.
        whereabouts: Remembers where redirects led, for the channel's next source; None for nobody to go back there.
    """
    if upstream.url == DEMO_URL:
        return DemoSource()

    def live_at(place: Upstream, whereabouts: Whereabouts | None = None) -> Source:
        source = HttpSource(place, client, _relay(config, strict=channel.strict), whereabouts)
        return EndlessSource(source, place.label)

    def hls_at(place: Upstream) -> Source:
        # A viewer who has it alone takes it as fast as they like; a ring waits for nobody.
        paced = channel.mode is RelayMode.SHARED
        return HlsSource(place, client, config.options, config.relay, quality=channel.quality, paced=paced)

    live, hls = live_at(upstream, whereabouts), hls_at(upstream)
    kinds = {StreamKind.LIVE: live_at, StreamKind.HLS: hls_at}
    page = PageSource(upstream, pages, kinds, quality=channel.quality, timeout=config.options.timeout)
    match upstream.kind:
        case StreamKind.LIVE:
            return live
        case StreamKind.HLS:
            return UnknownSource(hls, {StreamKind.PAGE: page})
        case StreamKind.FILE:
            return UnknownSource(live, {StreamKind.HLS: hls})
        case StreamKind.PAGE:
            return page
    return UnknownSource(live, {StreamKind.HLS: hls, StreamKind.PAGE: page})


def _relay(config: Config, *, strict: bool) -> RelayConfig:
    if not strict:
        return config.relay
    return config.relay.model_copy(update={"stall_timeout": config.strict_live_ts.circuit_breaker_timeout})


class EndlessSource:
    """Reads what has no end of its own: where it ends, it is lost."""

    def __init__(self, source: HttpSource, label: str) -> None:
        """Prepare.

        Args:
            source: Reads it.
            label: The name of the upstream.
        """
        self._source = source
        self._label = label

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._source.format

    async def run(self, sink: Sink) -> None:
        """Read until it is lost; what had a length, and came whole, was a recording, and has come to its end.

        Raises:
            UpstreamError: It was lost.
        """
        await self._source.run(sink)
        if not self._source.complete:
            raise UpstreamBroken(self._label, "the upstream ended the stream")


class UnknownSource:
    """Reads what may turn out to be something else: its first bytes tell."""

    def __init__(self, first: Source, others: Mapping[str, Source]) -> None:
        """Prepare.

        Args:
            first: Reads it as what it most likely is.
            others: Reads it as what it may be instead, by that.
        """
        self._others = others
        self._taken = first

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed."""
        return self._taken.format

    async def run(self, sink: Sink) -> None:
        """Read until the upstream ends.

        Raises:
            UpstreamError: It failed, or is none of these.
        """
        try:
            await self._taken.run(sink)
        except UpstreamNotMedia as error:
            other = self._others.get(error.kind or "")
            if other is None:
                raise
            self._taken = other
            await other.run(sink)
