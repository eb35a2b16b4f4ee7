"""One transport stream without a seam, out of one source after another (ISO/IEC 13818-1)."""

from streamproxy.formats.splice.candidate import Candidate
from streamproxy.formats.splice.chunks import Piece
from streamproxy.formats.splice.replay import Former
from streamproxy.formats.splice.splicer import Splicer

__all__ = ["Candidate", "Former", "Piece", "Splicer"]
