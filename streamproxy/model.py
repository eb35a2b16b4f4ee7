"""The words everybody shares: a channel, its upstreams, and what feeds and takes a stream."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Protocol, runtime_checkable

DEMO_URL = "demo:"
"""The address of the embedded test channel."""


def merged_headers(below: Mapping[str, str], above: Mapping[str, str]) -> dict[str, str]:
    """Lay request headers over others; names are compared without case (RFC 9110, 5.1)."""
    names = {name.lower() for name in above}
    return {name: value for name, value in below.items() if name.lower() not in names} | dict(above)


class RelayMode(StrEnum):
    """How a channel's viewers share its upstream."""

    SHARED = "shared"
    """One upstream connection for all viewers."""
    DIRECT = "direct"
    """One upstream connection per viewer."""


class StreamKind(StrEnum):
    """What a channel is made of."""

    LIVE = "live"
    """A transport stream without end."""
    HLS = "hls"
    """A playlist of segments."""
    FILE = "file"
    """A file, in which one can seek."""
    PAGE = "page"
    """A web page with a stream in it."""


@dataclass(frozen=True, slots=True)
class StreamFormat:
    """How a stream is packed.

    Attributes:
        media_type: `video/mp2t` or `video/mp4`; it never changes.
        header: What whoever joins must get first; empty for nothing.
    """

    media_type: str
    header: bytes = field(default=b"", repr=False)


TRANSPORT_STREAM = StreamFormat("video/mp2t")


@dataclass(frozen=True, slots=True)
class Upstream:
    """One address of a channel. The address and its headers are secrets: logs, events and errors show only the label.

    Attributes:
        url: The address, byte for byte as the provider gave it.
        label: The name under which logs show it; the upstreams of one channel have different ones.
        headers: Request headers beyond the program's own, User-Agent included where the channel has its own.
        kind: What is there; None where only the first answer will tell.
        account: The name of the provider's account, of which it takes a connection; empty for none that counts.
        foreign: Given by somebody else than the owner: must not lead to this machine or to what only it can reach.
    """

    url: str = field(repr=False)
    label: str
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    kind: StreamKind | None = None
    account: str = ""
    foreign: bool = False


@dataclass(frozen=True, slots=True)
class Channel:
    """One entry of the catalog.

    Attributes:
        id: What its URL is made of; stable for ever.
        name: The title shown to people.
        upstreams: Where it comes from, preferred first; never empty.
        group: The group it is listed under; empty for none.
        quality: Which variant of HLS to take when it is sent as one stream.
        mode: How its viewers share the upstream.
        strict: Whether viewers get a head start of it and its upstream is given up at a short silence. Files are not.
        sticky: Whether a live stream that was lost is taken up again where a redirect had led.
        resolver_url: Who is asked for another address when an upstream is given up, a secret; None for nobody.
        resolver_foreign: Whether that is somebody else's choice; see `Upstream.foreign`.
        profile: Name of the profile it is transcoded with unless a viewer asks for another; None for none.
        transcode: What it is made of, if it is another channel that is transcoded; None if it comes from its upstreams.
        metadata: What the configuration says of it, for the API.
    """

    id: str
    name: str
    upstreams: tuple[Upstream, ...]
    group: str = ""
    quality: str = "best"
    mode: RelayMode = RelayMode.SHARED
    strict: bool = False
    sticky: bool = False
    resolver_url: str | None = field(default=None, repr=False)
    resolver_foreign: bool = False
    profile: str | None = None
    transcode: "Transcode | None" = None
    metadata: Mapping[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> StreamKind | None:
        """What the preferred upstream is; None where only its first answer will tell. A backup may be another kind."""
        return self.upstreams[0].kind


@dataclass(frozen=True, slots=True)
class Transcode:
    """What a channel is made of that is another one, transcoded.

    Attributes:
        source: The other channel.
        profile: Name of the profile.
        container: What it is packed in; None for what the profile says.
        variables: What is filled into a raw template, by name.
    """

    source: Channel
    profile: str
    container: str | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


class Sink(Protocol):
    """What takes a stream: the ring of a broadcast, or one viewer's connection."""

    @property
    def full(self) -> bool:
        """Whether `drain` would wait."""

    def write(self, data: bytes, /) -> None:
        """Take a piece of the stream, without waiting."""

    async def drain(self) -> None:
        """Wait until more may be written."""


@runtime_checkable
class Splicing(Protocol):
    """What else some sinks do: they put two timelines together."""

    def splice(self, *, torn: bool) -> None:
        """Take what is written next for another timeline, with clocks and counters of its own.

        Args:
            torn: Whether what was written last may have broken off anywhere.
        """


class Source(Protocol):
    """What feeds a stream."""

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; known with its first write."""

    async def run(self, sink: Sink) -> None:
        """Feed the sink for as long as this runs.

        Returning means that the stream ended; cancelling stops it, with every connection closed before this returns.

        Raises:
            UpstreamError: Why it failed.
        """
