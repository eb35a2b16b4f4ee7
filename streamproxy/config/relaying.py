"""How upstreams are asked, and how viewers share them."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from streamproxy.config import values
from streamproxy.config.section import Section, Switch, UserAgent
from streamproxy.config.values import Seconds, Whole

PACKET = 188
"""Bytes of an MPEG-TS packet (ISO/IEC 13818-1, 2.4.3.2)."""


def _whole_packets(value: int) -> int:
    return value - value % PACKET


class OptionsConfig(Section):
    """How upstreams are asked."""

    user_agent: UserAgent = "VLC/3.0.21 LibVLC/3.0.21"
    """User-Agent for upstreams and lists that have none of their own."""
    threads: Annotated[int, BeforeValidator(Whole(1, 64))] = 4
    """Segments of one HLS channel fetched at once."""
    timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 10.0
    """Seconds for an upstream to answer: name, connection, redirects and headers together."""
    buffer_size: Annotated[int, BeforeValidator(Whole(PACKET, 1 << 30, "bytes"))] = 8388608
    """Bytes read ahead for a viewer who has an upstream connection of their own."""
    use_sticky_session: Switch = False
    """Whether a live stream that was lost is taken up where a redirect had led, until that fails; HLS always is."""


class RelayConfig(Section):
    """How one upstream is shared by many viewers."""

    chunk_size: Annotated[int, BeforeValidator(Whole(1316, 1 << 20, "bytes")), AfterValidator(_whole_packets)] = 130848
    """Bytes written to viewers at a time; rounded down to whole packets of 188 bytes."""
    chunk_delay: Annotated[float, BeforeValidator(Seconds(0, 10))] = 0.15
    """Seconds that a byte waits at most for its chunk to fill."""
    history: Annotated[int, BeforeValidator(Whole(0, 1 << 30, "bytes"))] = 1048576
    """Bytes of the recent past that are kept; more, as far back as the newest entry point, where new viewers start."""
    queue: Annotated[int, BeforeValidator(Whole(4, 100_000))] = 64
    """Chunks that a viewer may lag behind before it is moved forward."""
    linger: Annotated[float, BeforeValidator(Seconds(0))] = 0.0
    """Seconds that an upstream stays open after its last viewer left."""
    stall_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 15.0
    """Seconds of silence after which an upstream counts as lost."""
    stuck_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 15.0
    """Seconds after which a viewer who takes no data is dropped."""
    send_buffer: Annotated[int, BeforeValidator(Whole(4096, 1 << 26, "bytes"))] = 262144
    """Bytes of kernel memory for each viewer's connection (SO_SNDBUF)."""


class HlsConfig(Section):
    """How HLS is passed on."""

    output: Annotated[Literal["hls", "ts"], BeforeValidator(values.lower_case)] = "hls"
    """How HLS channels are listed: hls, or ts for one continuous MPEG-TS stream; ?output= chooses for one request."""
    cache_size: Annotated[int, BeforeValidator(Whole(1 << 20, 1 << 36, "bytes"))] = 268435456
    """Bytes of memory for segments that viewers share."""
    viewer_timeout: Annotated[float, BeforeValidator(Seconds(1))] | None = None
    """Seconds without a request after which a viewer has left; null for three target durations of what they watch."""
    link_key: Annotated[str, AfterValidator(values.link_key)] | None = Field(default=None, repr=False)
    """A secret text that links in playlists are sealed with; null makes a key and keeps it in state_dir."""
    raw_urls: Switch = False
    """Whether ?url= is accepted, as m3u-proxy does: whoever reaches the proxy makes it fetch any address."""
