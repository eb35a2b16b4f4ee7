"""HLS playlists as values, in the words of RFC 8216bis. URLs are absolute and not re-quoted; durations in seconds."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class ByteRange:
    """A part of a resource (4.4.4.2): `length` bytes from `offset` on."""

    length: int
    offset: int

    @property
    def header(self) -> str:
        """The value of a `Range` request header."""
        return f"bytes={self.offset}-{self.offset + self.length - 1}"


@dataclass(frozen=True, slots=True)
class Key:
    """How segments are encrypted (4.4.4.4); the URL is a secret.

    Attributes:
        method: `AES-128`; other methods are named as they stand in the playlist.
        url: Where the key is.
        iv: 16 bytes, or None: then the media sequence number is used.
        key_format: `identity` unless given.
    """

    method: str
    url: str = field(repr=False)
    iv: bytes | None = None
    key_format: str = "identity"


@dataclass(frozen=True, slots=True)
class Map:
    """A media initialization section (4.4.4.5), and the key in force where it stood."""

    url: str = field(repr=False)
    byte_range: ByteRange | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class MediaSegment:
    """One segment (4.4.4).

    Attributes:
        sequence: Its media sequence number.
        url: Where it is.
        duration: Seconds, clamped to what is sane.
        byte_range: The part of the resource it is; None for all.
        broken: Why it cannot be fetched although the rest can (a byte range without an offset to follow on); empty if
        it can.
        discontinuity: Whether it does not continue the one before.
        discontinuity_sequence: Number of discontinuities since the beginning.
        gap: Whether it is missing and must not be fetched.
        key: How it is encrypted; None if it is not.
        map: What must be read before it; None for transport streams.
    """

    sequence: int
    url: str = field(repr=False)
    duration: float
    byte_range: ByteRange | None = None
    broken: str = ""
    discontinuity: bool = False
    discontinuity_sequence: int = 0
    gap: bool = False
    key: Key | None = None
    map: Map | None = None


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A media playlist (4.4.3).

    Attributes:
        url: Where it came from, after redirects.
        target_duration: Seconds; None if it does not say.
        segments: In order.
        has_sequence: Whether it says at which number it begins; where not, numbers begin at 0 and mean nothing across
        reloads.
        ended: Whether no segment will be added any more (EXT-X-ENDLIST).
        i_frames_only: Whether it holds only key frames, and cannot be played as a stream.
    """

    url: str = field(repr=False)
    target_duration: float | None
    segments: tuple[MediaSegment, ...]
    has_sequence: bool = True
    ended: bool = False
    i_frames_only: bool = False


@dataclass(frozen=True, slots=True)
class Rendition:
    """An alternative rendition (4.4.6.1) that has a playlist of its own.

    Attributes:
        kind: AUDIO, VIDEO, SUBTITLES or CLOSED-CAPTIONS.
        url: Its media playlist; None where it is muxed into the variant.
    """

    kind: str
    group: str
    name: str
    language: str
    default: bool
    url: str | None = field(repr=False)


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant stream (4.4.6.2).

    Attributes:
        bandwidth: Bits per second at the peak; 0 if it does not say.
        height: Lines; None if it does not say.
        audio: The group of audio renditions it goes with; None for none.
        codecs: As it says, or empty.
    """

    url: str = field(repr=False)
    bandwidth: int
    height: int | None = None
    audio: str | None = None
    codecs: str = ""


@dataclass(frozen=True, slots=True)
class MultivariantPlaylist:
    """A multivariant playlist (4.4.6).

    Attributes:
        url: Where it came from, after redirects.
        variants: In order, those with only key frames left out.
        renditions: In order.
        variables: What EXT-X-DEFINE defines, for media playlists that import it.
    """

    url: str = field(repr=False)
    variants: tuple[Variant, ...]
    renditions: tuple[Rendition, ...]
    variables: dict[str, str] = field(default_factory=dict, repr=False)
