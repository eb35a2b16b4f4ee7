"""The one stream that the viewers of a channel get, whatever feeds it at the moment."""

import asyncio

from streamproxy.broadcast.broadcast import Taker
from streamproxy.errors import UpstreamNotMedia
from streamproxy.formats.health import Ailment, Vitals, VitalTerms
from streamproxy.formats.mpegts import Entry
from streamproxy.formats.splice import Candidate, Former, Splicer
from streamproxy.model import TRANSPORT_STREAM, StreamFormat


class Line:
    """Passes a stream on, and splices another one to it where it ends.

    Transport streams are spliced without a seam. Fragmented MP4 is passed on as it is: another stream of it begins with
    its own header.

    Attributes:
        format: How the stream is packed; None before there is any.
        begun: Whether viewers have got any of it.
        splices: Whether another upstream can take over without a seam.
    """

    def __init__(
        self,
        taker: Taker,
        *,
        vital_terms: VitalTerms | None = None,
        prebuffer_size: int = 0,
        prebuffer_timeout: float = 0,
    ) -> None:
        """Prepare.

        Args:
            taker: Who takes the stream.
            vital_terms: What is wrong with a stream; None for nothing.
            prebuffer_size: Bytes that are gathered before the first is passed on.
            prebuffer_timeout: Seconds that gathering takes at most.
        """
        self.format: StreamFormat | None = None
        self.begun = False
        self.splices = True
        self._taker = taker
        self._splicer = Splicer(thorough=vital_terms is not None and vital_terms.thorough)
        self._vital_terms = vital_terms
        self._vitals: Vitals | None = None
        self._prebuffer_size = prebuffer_size
        self._prebuffer_timeout = prebuffer_timeout
        self._gathered: list[tuple[bytes, tuple[Entry, ...]]] = []
        self._gathering: asyncio.TimerHandle | None = None

    @property
    def taken(self) -> bool:
        """Whether anything has come: viewers have got it, or it is gathered for them."""
        return self.begun or bool(self._gathered)

    def require(self, form: StreamFormat, label: str) -> None:
        """Make sure that an upstream can follow on what viewers have got.

        Args:
            form: How the upstream is packed.
            label: Its name.

        Raises:
            UpstreamNotMedia: The viewers were promised something else.
        """
        if self.format and self.format.media_type != form.media_type:
            reason = f"the upstream sends {form.media_type}, and its viewers get {self.format.media_type}"
            raise UpstreamNotMedia(label, reason)

    def agree(self, form: StreamFormat) -> None:
        """Settle how the stream is packed from now on."""
        another = self.format is not None and form.header != self.format.header
        self.format = form
        self.splices = form.media_type == TRANSPORT_STREAM.media_type
        if another and self.begun:
            self._pass_on(form.header)

    def feed(self, data: bytes) -> Ailment | None:
        """Take more of the stream in force; tell what is wrong with it."""
        if not self.splices:
            self._pass_on(data)
            return None
        for piece in self._splicer.feed(data):
            self._pass_on(piece.data, piece.entries)
        found = self._splicer.found
        if self._vitals is None or not found:
            return None
        return self._vitals.look_through(asyncio.get_running_loop().time(), found)

    def newest(self, count: int) -> list[bytes]:
        """Return the newest pieces of a transport stream that came, at most so many, oldest first."""
        return self._splicer.newest(count)

    def elapse(self) -> Ailment | None:
        """Let time pass in which nothing may have come; tell what is wrong."""
        return self._vitals.elapse(asyncio.get_running_loop().time()) if self._vitals else None

    def look(self) -> None:
        """Tell the taker of entry points that are not known yet."""
        if self.begun and (entries := self._splicer.look()):
            self._taker.write(b"", entries)

    def finish(self, *, whole: bool = False) -> Former | None:
        """Say that the stream in force has ended.

        Args:
            whole: Whether nothing of it is torn; else what is torn is dropped.

        Returns:
            What it is to be recognised by, if it begins again with what it sent already.
        """
        pieces = self._splicer.finish(whole=whole) if self.splices else []
        for piece in pieces:
            self._pass_on(piece.data, piece.entries)
        if self._gathered:
            # What follows comes behind this, so it has to have begun.
            self._release()
        return self._splicer.former() if self.splices else None

    def enter(self, candidate: Candidate | None, *, watched: bool) -> None:
        """Put a stream in force.

        Args:
            candidate: What is there of it; None for the first, which has yet to be fed.
            watched: Whether to look for what is wrong with it.
        """
        if candidate:
            for piece in self._splicer.enter(candidate):
                self._pass_on(piece.data, piece.entries)
        terms = self._vital_terms if watched and self.splices else None
        self._vitals = Vitals(terms, self._splicer.indexer) if terms else None

    def idle(self) -> None:
        """Send what means nothing, so that nobody takes the connection for dead."""
        if self.begun and self.splices:
            self._pass_on(self._splicer.idle())

    @property
    def full(self) -> bool:
        """Whether viewers who are waited for are behind."""
        return self._taker.full

    async def drain(self) -> None:
        """Wait until the viewers can take more, if they are waited for."""
        await self._taker.drain()

    def close(self) -> None:
        """Pass on nothing more."""
        if self._gathering:
            self._gathering.cancel()
        self._gathered.clear()
        # Megabytes, which should not wait for the garbage collector.
        self._splicer = Splicer()
        self._vitals = None

    def _pass_on(self, data: bytes, entries: tuple[Entry, ...] = ()) -> None:
        if not data and not entries:
            # Of a source that takes over, a piece may be nothing but sound that viewers have already.
            return
        if not self.begun and self._prebuffer_size:
            self._gather(data, entries)
        else:
            self.begun = True
            self._taker.write(data, entries)

    def _gather(self, data: bytes, entries: tuple[Entry, ...]) -> None:
        self._gathered.append((data, entries))
        if sum(len(piece) for piece, _ in self._gathered) >= self._prebuffer_size:
            self._release()
        elif not self._gathering:
            self._gathering = asyncio.get_running_loop().call_later(self._prebuffer_timeout, self._release)

    def _release(self) -> None:
        if self._gathering:
            self._gathering.cancel()
        self.begun = True
        for data, entries in self._gathered:
            self._taker.write(data, entries)
        self._gathered.clear()
