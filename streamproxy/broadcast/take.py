"""One upstream's turn on the line: from its opening until it is lost."""

import asyncio
from collections.abc import Callable

from streamproxy.broadcast.line import Line
from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamThin
from streamproxy.formats.health import Ailment
from streamproxy.formats.splice import Candidate, Former
from streamproxy.model import Source, Upstream
from streamproxy.tasks import until_over

_LONGEST_SEARCH = 15
"""Seconds in which bytes may come without anything of a picture or of sound beginning in them."""
_MOST_WAITED_WITH = 8 << 20
"""Bytes that are searched for a point where decoding can start; then it starts anywhere."""

_AILMENTS = {
    Ailment.NO_MEDIA: "there is no program in what the upstream sends",
    Ailment.NO_VIDEO: "the upstream sends no pictures any more",
    Ailment.FROZEN: "the upstream's clock stands still",
    Ailment.LOOP: "the upstream sends a short clip over and over",
    Ailment.LOW_BITRATE: "the upstream sends too little",
}


class Take:
    """Runs a source. It is the sink of its source: first it gets ready beside what plays, then it is put in force.

    The first on a line is in force from its first byte: there is nothing to be spliced to.

    Attributes:
        upstream: What runs.
        over: Done when it has ended; its result is why, or None if the stream has come to its own end.
    """

    def __init__(
        self, upstream: Upstream, source: Source, line: Line, *, former: Callable[[], Former | None], watched: bool
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: What to run.
            source: Reads it.
            line: Where it goes.
            former: Tells, with its first bytes, what it sent before and may send again; None if it sent nothing.
            watched: Whether it counts as lost when something is wrong with what it sends.
        """
        self.upstream = upstream
        self.over: asyncio.Future[UpstreamError | None] = asyncio.get_running_loop().create_future()
        self._source = source
        self._line = line
        self._watched = watched
        self._former = former
        self._candidate: Candidate | None = None
        self._waited_with = 0
        self._waits_since = 0.0
        self._kept: list[bytes] = []
        self._in_force = False
        self._retired = False
        self._ready = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    @property
    def receiving(self) -> bool:
        """Whether any of it has come."""
        return self._in_force or self._candidate is not None or bool(self._kept)

    async def prepare(self, patience: float) -> None:
        """Open it, and wait until it can be put in force.

        Args:
            patience: Seconds to wait for the point where decoding can start; then it starts anywhere.

        Raises:
            UpstreamError: It was lost before.
        """
        self._task = asyncio.create_task(self._run(), name=f"upstream {self.upstream.label}")
        ready = asyncio.ensure_future(self._ready.wait())
        try:
            await asyncio.wait((ready, self.over), timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            searched = 0
            while not (ready.done() or self.over.done() or (self._candidate and self._candidate.settle())):
                # Where nothing comes at all, the source itself gives up.
                searched += self._candidate is not None
                if searched > _LONGEST_SEARCH:
                    raise UpstreamNotMedia(self.upstream.label, _AILMENTS[Ailment.NO_MEDIA])
                await asyncio.wait((ready, self.over), timeout=1, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ready.cancel()
        if self.over.done() and not self._ready.is_set():
            raise self.over.result() or UpstreamBroken(self.upstream.label, "the upstream ended at once")

    def enter(self) -> None:
        """Put it in force, unless it is: the first on a line is, and may be between two timelines already."""
        if not self._in_force:
            self._in_force = True
            self._take_over()
            self._pass_kept()

    def _take_over(self) -> None:
        if self._candidate:
            self._line.enter(self._candidate, watched=self._watched)
            self._candidate = None

    def retire(self) -> None:
        """Take it out of force: what it still sends is dropped."""
        self._retired = True

    async def stop(self) -> None:
        """End it, and wait until it is shut; a cancellation waits for that too."""
        self.retire()
        if self._task:
            self._task.cancel()
            await until_over(self._task)

    def write(self, data: bytes, /) -> None:
        """Take more of the source."""
        if self._retired:
            return
        if self._candidate:
            self._prepare_with(self._candidate, data)
        elif self._in_force:
            if not self._line.splices:
                # A source repeats its header where that changes; whoever joins gets the newest.
                self._line.format = self._source.format
            self._judge(self._line.feed(data))
        elif self._kept:
            self._kept.append(data)
        else:
            self._begin(data)

    def elapse(self) -> None:
        """Let time pass in which nothing may have come."""
        if not self._in_force or self._retired:
            return
        self._judge(self._line.elapse())
        # Where nothing comes at all, the source itself gives up.
        if self._candidate and self._waited_with and _now() - self._waits_since >= _LONGEST_SEARCH:
            if self._candidate.settle():
                self._take_over()
            else:
                self._judge(Ailment.NO_MEDIA)

    def splice(self, *, torn: bool) -> None:
        """Take what comes next for another timeline; see `Splicing`."""
        if self._in_force and not self._candidate and self._line.splices:
            self._line.finish(whole=not torn)
            self._wait_with(Candidate())

    @property
    def full(self) -> bool:
        """Whether viewers who are waited for are behind."""
        return self._in_force and self._line.full

    async def drain(self) -> None:
        """Wait until the viewers can take more, if they are waited for."""
        if self._in_force:
            await self._line.drain()

    def _begin(self, data: bytes) -> None:
        """Take the first bytes."""
        self._line.require(self._source.format, self.upstream.label)
        if not self._line.taken:
            self._in_force = True
            self._line.agree(self._source.format)
            self._line.enter(None, watched=self._watched)
            self.write(data)
            self._ready.set()
        elif self._line.splices:
            self._wait_with(Candidate(self._former()))
            self.write(data)
        else:
            self._kept.append(data)
            self._ready.set()

    def _pass_kept(self) -> None:
        """Pass on what came, behind its header, while something else played that it cannot be spliced to."""
        if self._kept:
            self._line.agree(self._source.format)
            for data in self._kept:
                self._line.feed(data)
            self._kept.clear()

    def _judge(self, ailment: Ailment | None) -> None:
        if ailment:
            lost = UpstreamThin if ailment is Ailment.LOW_BITRATE else UpstreamNotMedia
            self._end(lost(self.upstream.label, _AILMENTS[ailment]))

    def _wait_with(self, candidate: Candidate) -> None:
        self._candidate = candidate
        self._waited_with = 0

    def _prepare_with(self, candidate: Candidate, data: bytes) -> None:
        candidate.feed(data)
        if not self._waited_with:
            self._waits_since = _now()
        self._waited_with += len(data)
        if candidate.ready or (self._waited_with > _MOST_WAITED_WITH and candidate.settle()):
            self._ready.set()
            if self._in_force:
                self._take_over()

    async def _run(self) -> None:
        try:
            await self._source.run(self)
        except UpstreamError as error:
            self._end(error)
        except Exception as error:  # noqa: BLE001 - a mistake of ours, raised in the channel's own task
            if not self.over.done():
                self.over.set_exception(error)
        else:
            self._end(None)

    def _end(self, reason: UpstreamError | None) -> None:
        if not self.over.done():
            self.over.set_result(reason)


def _now() -> float:
    return asyncio.get_running_loop().time()
