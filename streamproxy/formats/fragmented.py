"""A live stream of fragmented MP4 (ISO/IEC 14496-12, 8.8): what players need first, and then the fragments."""

from streamproxy.formats.fmp4 import Fragments, NotFragmentsError

_BEFORE_MEDIA = frozenset({b"styp", b"sidx", b"emsg", b"prft", b"moof"})
"""With one of these, a fragment begins."""


class FragmentedStream:
    """Turn bytes as they come into whole fragments.

    Attributes:
        header: The file type and the movie box: whoever joins must get them first. Empty before they are known.
    """

    def __init__(self, *, limit: int = 1 << 26) -> None:
        """Start at the beginning of a stream.

        Args:
            limit: Bytes that a fragment may have.
        """
        self.header = b""
        self._fragments = Fragments(limit=limit)

    def feed(self, data: bytes) -> list[bytes]:
        """Take what came, and return the fragments that are complete with it: none, or all in one piece.

        Raises:
            NotFragmentsError: This is no fragmented MP4, or one that cannot be held.
        """
        fragments = self._fragments.feed(data)
        if fragments and not self.header:
            end = _end_of_header(fragments)
            self.header, fragments = fragments[:end], fragments[end:]
        return [fragments] if fragments else []


def _end_of_header(data: bytes) -> int:
    """Return where the first fragment begins in a piece of whole boxes.

    Raises:
        NotFragmentsError: There is media, or nothing, before it is said what that is.
    """
    position, kinds = 0, set()
    while (kind := data[position + 4 : position + 8]) not in _BEFORE_MEDIA:
        size = int.from_bytes(data[position : position + 4], "big")
        if kind == b"mdat" or size < 8:
            raise NotFragmentsError("an MP4 file that is not fragmented")
        kinds.add(kind)
        position += size
    if b"moov" not in kinds:
        raise NotFragmentsError("fragments without a movie box")
    return position
