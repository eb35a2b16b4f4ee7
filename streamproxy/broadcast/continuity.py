"""A channel without an end: whatever becomes of its upstreams, its viewers get one stream."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractContextManager, asynccontextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Protocol

import structlog

from streamproxy.broadcast.broadcast import Taker
from streamproxy.broadcast.failover import Attempt, Failover, FailoverTerms, RetryTerms
from streamproxy.broadcast.interlude import Interlude, Slates
from streamproxy.broadcast.line import Line
from streamproxy.broadcast.referral import Referrals, Resolve
from streamproxy.broadcast.take import Take
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamBusy,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamOffline,
    UpstreamRefused,
)
from streamproxy.formats.health import VitalTerms
from streamproxy.formats.splice import Former
from streamproxy.model import DEMO_URL, TRANSPORT_STREAM, Channel, Source, StreamFormat, Upstream
from streamproxy.tasks import until_over

_PATIENCE = 10.0
"""Seconds to wait for the point where decoding can start."""
_CHECKUP = 5.0
"""Seconds from one look at a stream of which little or nothing comes to the next."""
_BY_HAND, _FAIL_BACK = "manual", "fail_back"
_FORBIDDEN_OR_GONE = frozenset({401, 403, 404, 410})

_log = structlog.stdlib.get_logger("streamproxy")


@dataclass(frozen=True, slots=True)
class Terms:
    """How a channel is kept going.

    Attributes:
        retry: How one upstream is tried again.
        failover: How upstreams take turns.
        slates: What is shown while nothing plays; None for nothing.
        vitals: What is wrong with a stream although it comes.
        prebuffer_size: Bytes that are gathered before the first is passed on.
        prebuffer_timeout: Seconds that gathering takes at most.
        resolve: Whom to ask for another upstream when one is given up; None for nobody.
        repeats: Whether an upstream that is opened again may send again what it sent before, which is left out then.
    """

    retry: RetryTerms
    failover: FailoverTerms
    slates: Slates | None
    vitals: VitalTerms
    prebuffer_size: int = 0
    prebuffer_timeout: float = 0.0
    resolve: Resolve | None = None
    repeats: bool = True


class Witness(Protocol):
    """Who is told how the feed of a channel fares."""

    def lost(self, upstream: Upstream, error: UpstreamError) -> None:
        """Take note that an upstream was lost, or could not be had."""

    def tried_again(self) -> None:
        """Take note that an upstream is opened after a loss."""

    def playing(self, upstream: Upstream, index: int | None, *, spliced: bool, reason: str) -> None:
        """Take note that an upstream was put in force.

        Args:
            upstream: Which.
            index: Its number among the channel's; None for one that a service has named.
            spliced: Whether something played before it on the same line.
            reason: Why, if it is another than before.
        """

    def gave_up(self, error: UpstreamError) -> None:
        """Take note that nothing can be had any more."""


@dataclass(frozen=True, slots=True)
class _Loss:
    """An upstream that was lost, and why."""

    upstream: Upstream
    error: UpstreamError


@dataclass(frozen=True, slots=True)
class _Move:
    """A step from an upstream that plays to another one.

    Attributes:
        upstream: The other one.
        index: Its number among the channel's; None for one that a service has named.
        cause: Why.
    """

    upstream: Upstream
    index: int | None
    cause: str


class Continuity:
    """Runs the upstreams of a channel, one after the other, into one stream.

    An upstream that is lost is opened again, or the next one is. Where another is wanted while one plays, that one
    plays on until the other can be put in its place.
    """

    def __init__(
        self,
        channel: Channel,
        open_source: Callable[[Upstream], Source],
        terms: Terms,
        *,
        berth: AbstractContextManager[object] | None = None,
        preferred: int = 0,
        witness: Witness | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            channel: Whose upstreams to run.
            open_source: Makes the source of one of them, without opening it.
            terms: How the channel is kept going.
            berth: Entered for as long as it runs, from before the first source is opened until the last is shut.
            preferred: Index of the upstream to begin with.
            witness: Who is told how it fares; None for nobody.
            jitter: Returns a random number from 0 to 1.
        """
        self._channel = channel
        self._open_source = open_source
        self._terms = terms
        self._berth = berth or nullcontext()
        self._witness = witness
        self._policy = Failover(len(channel.upstreams), terms.retry, terms.failover, jitter=jitter, preferred=preferred)
        self._referrals = Referrals(terms.resolve)
        self._stand_in: Upstream | None = None
        self._in_force_since = 0.0
        self._line: Line | None = None
        self._playing: Take | None = None
        self._preparing: Take | None = None
        self._last: Upstream | None = None
        self._former: Former | None = None
        self._reason: UpstreamError | None = None
        self._cause = ""
        self._wanted: asyncio.Future[int | None] | None = None
        self._log = _log.bind(channel=channel.id)

    @property
    def format(self) -> StreamFormat:
        """How the stream is packed; known with its first write."""
        return (self._line and self._line.format) or TRANSPORT_STREAM

    def newest(self, count: int) -> list[bytes]:
        """Return the newest pieces that came from upstreams as a transport stream, at most so many, oldest first."""
        return self._line.newest(count) if self._line else []

    def switch(self, index: int | None = None) -> bool:
        """Go to another upstream by hand, as soon as that can be played; tell whether there was one to leave.

        Args:
            index: Which; None for what a service names, or else the next in order.
        """
        if self._wanted is None or self._wanted.done():
            return False
        self._wanted.set_result(index)
        return True

    def look(self) -> None:
        """Tell the taker of entry points that are not known yet: somebody joins."""
        if self._line:
            self._line.look()

    async def run(self, sink: Taker) -> None:
        """Feed the taker until the stream has come to its own end, or every upstream has failed for too long.

        Raises:
            UpstreamError: Why the channel was given up.
        """
        self._line = line = Line(
            sink,
            vital_terms=self._terms.vitals,
            prebuffer_size=self._terms.prebuffer_size,
            prebuffer_timeout=self._terms.prebuffer_timeout,
        )
        step: Attempt | _Loss | None = self._policy.begin(_now())
        with self._berth:
            try:
                while step:
                    step = await self._play(line, step)
            finally:
                line.close()
                if self._playing:
                    await self._playing.stop()

    async def _play(self, line: Line, step: Attempt | _Loss) -> Attempt | _Loss | None:
        """Put an upstream in force, and follow it until that is over; return what comes then, None at its own end.

        Raises:
            UpstreamError: Nothing is next.
        """
        first = not line.begun
        async with self._holding(line):
            # It is known from here on, so that it is stopped whatever happens until it is put in force.
            take = self._playing = await self._find(line, step)
        self._put_in_force(take, first=first)
        return await self._follow(line, take)

    async def _find(self, line: Line, step: Attempt | _Loss) -> Take:
        """Try one upstream after the other, until one can be played."""
        while True:
            if isinstance(step, _Loss):
                found = await self._recover(line, step)
                if isinstance(found, Take):
                    return found
                step = found
            upstream = self._stand_in or self._channel.upstreams[step.index]
            await asyncio.sleep(step.at - _now())
            try:
                return await self._prepare(line, upstream)
            except UpstreamError as error:
                step = _Loss(upstream, error)

    async def _recover(self, line: Line, loss: _Loss) -> Take | Attempt:
        """Decide what is next. What the channel is referred to comes before that, and stands in for it while it plays.

        Raises:
            UpstreamError: Nothing is next.
        """
        attempt = self._next(loss)
        if attempt and not self._policy.given_up:
            return attempt
        last = loss
        while upstream := await self._referrals.ask(last.upstream, last.error):
            try:
                take = await self._prepare(line, upstream)
            except UpstreamError as error:
                self._log.warning("referral_failed", upstream=upstream.label, reason=error.reason)
                last = _Loss(upstream, error)
            else:
                self._stand_in = upstream
                return take
            if attempt:
                break
        if attempt is None:
            raise loss.error
        return attempt

    async def _prepare(self, line: Line, upstream: Upstream) -> Take:
        source = self._open_source(upstream)
        take = Take(upstream, source, line, former=lambda: self._former_of(upstream), watched=upstream.url != DEMO_URL)
        self._preparing = take
        try:
            await take.prepare(_PATIENCE)
        except BaseException:
            await take.stop()
            raise
        finally:
            self._preparing = None
        return take

    def _former_of(self, upstream: Upstream) -> Former | None:
        return self._former if self._terms.repeats and upstream == self._last else None

    def _put_in_force(self, take: Take, *, first: bool = False) -> None:
        self._playing = take
        self._last = take.upstream
        if take.upstream is not self._stand_in:
            self._stand_in = None
        self._in_force_since = _now()
        self._referrals.played()
        take.enter()
        self._policy.playing(_now())
        if self._witness:
            index = None if take.upstream is self._stand_in else self._policy.current
            self._witness.playing(take.upstream, index, spliced=not first, reason=self._cause)
        if not first:
            self._log.info("upstream_in_force", upstream=take.upstream.label)

    async def _follow(self, line: Line, take: Take) -> Attempt | _Loss | None:
        """Wait until what plays is lost; put others in its place meanwhile, where that is wanted."""
        wanted = self._wanted = asyncio.get_running_loop().create_future()
        while True:
            look_back_at = self._policy.fail_back_at()
            timeout = _CHECKUP if look_back_at is None else min(_CHECKUP, max(0, look_back_at - _now()))
            await asyncio.wait((take.over, wanted), timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
            if take.over.done():
                return await self._end(line, take)
            by_hand = wanted.done()
            if not by_hand and (look_back_at is None or _now() < look_back_at):
                take.elapse()
                continue
            if by_hand:
                move = await self._chosen(take, wanted.result())
            else:
                index = self._policy.preferred
                move = _Move(self._channel.upstreams[index], index, _FAIL_BACK)
            wanted = self._wanted = asyncio.get_running_loop().create_future()
            try:
                take = await self._relieve(line, take, move)
            except UpstreamBusy:
                # There is one connection for both: what plays has to make room.
                await self._shut(line, take)
                return self._settle(move)

    async def _chosen(self, take: Take, index: int | None) -> _Move:
        """Choose where to go by hand; who is in the know of other upstreams is asked first."""
        if index is None:
            wish = UpstreamBroken(take.upstream.label, "another upstream is wanted")
            if named := await self._referrals.ask(take.upstream, wish):
                return _Move(named, None, _BY_HAND)
            index = (self._policy.current + 1) % len(self._channel.upstreams)
        return _Move(self._channel.upstreams[index], index, _BY_HAND)

    async def _relieve(self, line: Line, take: Take, move: _Move) -> Take:
        """Put another upstream in the place of one that plays; return the one that is in force then.

        Raises:
            UpstreamBusy: Both cannot be open at once.
        """
        try:
            other = await self._prepare(line, move.upstream)
        except UpstreamBusy:
            raise
        except UpstreamError as error:
            self._log.warning("switch_failed", upstream=move.upstream.label, reason=error.reason)
            if move.cause == _FAIL_BACK:
                self._policy.put_off_fail_back(_now())
            return take
        self._settle(move)
        take.retire()
        line.finish()
        self._put_in_force(other)
        await take.stop()
        return other

    def _settle(self, move: _Move) -> Attempt:
        """Take note of where to go, and return the attempt that it is if it has yet to be opened."""
        self._cause = move.cause
        if move.index is None:
            self._stand_in = move.upstream
            return Attempt(self._policy.current, _now())
        self._stand_in = None
        if move.cause == _BY_HAND:
            return self._policy.switch(_now(), move.index)
        return self._policy.fail_back(_now())

    async def _end(self, line: Line, take: Take) -> _Loss | None:
        """Shut what is over, and tell why if that was not its own end."""
        error = take.over.result()
        if take.upstream is not self._stand_in and _now() - self._in_force_since >= self._terms.failover.healthy_after:
            self._referrals.start_over()
        await self._shut(line, take, whole=error is None)
        return _Loss(take.upstream, error) if error else None

    async def _shut(self, line: Line, take: Take, *, whole: bool = False) -> None:
        """Take what plays out of force, and wait until it is shut."""
        take.retire()
        self._former = line.finish(whole=whole)
        self._playing = None
        await take.stop()

    def _next(self, loss: _Loss) -> Attempt | None:
        error = loss.error
        if self._witness:
            self._witness.lost(loss.upstream, error)
        attempt = self._policy.lost(
            _now(),
            fatal=self._is_fatal(error),
            busy=isinstance(error, UpstreamBusy),
            stand_in=loss.upstream is self._stand_in,
        )
        if self._policy.given_up:
            self._stand_in = None
        if attempt:
            if self._witness:
                self._witness.tried_again()
            upstream = self._stand_in or self._channel.upstreams[attempt.index]
            self._reason = error
            self._cause = error.reason
            self._log.warning("upstream_lost", upstream=error.label, reason=error.reason, next=upstream.label)
        return attempt

    def _is_fatal(self, error: UpstreamError) -> bool:
        """Tell whether an upstream is better left alone; but whoever has one only tries that again."""
        if len(self._channel.upstreams) == 1:
            return False
        refused = isinstance(error, UpstreamRefused) and error.status in _FORBIDDEN_OR_GONE
        return refused or isinstance(error, UpstreamNotMedia | UpstreamOffline)

    @asynccontextmanager
    async def _holding(self, line: Line) -> AsyncIterator[None]:
        """Hold the line while nothing plays."""
        if not line.begun:
            yield
            return
        interlude = Interlude(
            line,
            self._terms.slates,
            busy=lambda: isinstance(self._reason, UpstreamBusy),
            coming=lambda: self._preparing is not None and self._preparing.receiving,
            shown=self._note_slate,
        )
        holding = asyncio.create_task(interlude.run(), name=f"interlude of {self._channel.id}")
        try:
            yield
        finally:
            holding.cancel()
            await until_over(holding)
            if not holding.cancelled():
                holding.result()

    def _note_slate(self) -> None:
        if self._former:
            # What comes next goes on behind the slate, and not behind these bytes.
            self._former = replace(self._former, last=b"")
        self._log.info("slate_shown")


def _now() -> float:
    return asyncio.get_running_loop().time()
