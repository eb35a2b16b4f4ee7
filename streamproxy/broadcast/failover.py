"""Which upstream of a channel is tried next, and when: a policy without a clock, a task or a connection of its own."""

import math
from collections.abc import Callable, Collection
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class RetryTerms:
    """How one upstream is tried again.

    Attributes:
        attempts: Tries of an upstream that was lost, before the next one; 0 for straight to the next, so that a channel
            with one upstream ends with it.
        delay: Seconds from one try of an upstream to its next, at least; more than 0. The first try after a loss is
            not delayed beyond that: what has played for a while is opened again at once.
        backoff: What the delay is multiplied by after each further failure; 1 or more.
        max_delay: Seconds that the delay grows to at most, jitter not counted; not less than the delay.
        jitter: Share, 0 to 1, by which a delay is longer at most, so that channels lost together do not come together.
        total_timeout: Seconds from a loss after which no try begins; 0 for never giving up.
    """

    attempts: int
    delay: float
    backoff: float
    max_delay: float
    jitter: float
    total_timeout: float


@dataclass(frozen=True, slots=True)
class FailoverTerms:
    """How the upstreams of a channel take turns.

    Attributes:
        cooldown: Seconds that an upstream which was given up is left alone, while another can be tried.
        fail_back: Seconds since the preferred upstream was left after which it is tried again; None for never.
        healthy_after: Seconds of playing after which a loss counts as a new one, and not as more of the last.
    """

    cooldown: float
    fail_back: float | None
    healthy_after: float


@dataclass(frozen=True, slots=True)
class Attempt:
    """What to do next.

    Attributes:
        index: The upstream to open.
        at: When, in seconds of the clock that the question came with; never before the question.
    """

    index: int
    at: float


class Failover:
    """Decides for one run of a channel, from its first attempt until it is given up or nobody wants it any more.

    There are two phases. While the channel has never played, somebody waits for a first picture: each upstream is tried
    once, without delay, and then it is given up. Once it has played, viewers are there and are kept: what was lost is
    tried again, then the next in order, round and round until the total timeout.

    An upstream is tried again only after it has played. One that fails as soon as it is opened is given up for the next
    at once, and comes round again after the others.

    Attributes:
        current: Index of the upstream in force: the one that was attempted last.
        preferred: Index of the upstream that a fail-back returns to: the first, or what was chosen by hand.
        given_up: Whether the upstream that was lost last is not just tried again: another one's turn has come, or that
            of nobody.
    """

    def __init__(
        self,
        upstreams: int,
        retry: RetryTerms,
        failover: FailoverTerms,
        *,
        jitter: Callable[[], float],
        preferred: int = 0,
    ) -> None:
        """Prepare.

        Args:
            upstreams: How many there are; at least 1.
            retry: How one is tried again.
            failover: How they take turns.
            jitter: Returns a random number from 0 to 1.
            preferred: Index of the upstream to begin with, and to return to.
        """
        self.current = preferred
        self.preferred = preferred
        self.given_up = False
        self._retry = retry
        self._failover = failover
        self._jitter = jitter
        self._records = [_Record() for _ in range(upstreams)]
        self._untried: set[int] | None = None
        self._ever_played = False
        self._lost_at: float | None = None
        self._playing_since: float | None = None
        self._back_to: int | None = None

    def begin(self, now: float) -> Attempt:
        """Start, with the preferred upstream; to be called once, before all else."""
        self._untried = set(range(len(self._records)))
        self._lost_at = now
        return self._attempt(self.preferred, now)

    def playing(self, now: float) -> None:
        """Say that bytes of the upstream in force are being published; may be said again and again."""
        if self._playing_since is not None:
            return
        self._playing_since = now
        self._back_to = None
        self._untried = None
        self._records[self.current].played = True
        if not self._ever_played:
            self._ever_played = True
            # Its first loss is still to come: the time until the first picture is no part of it.
            self._lost_at = None

    def lost(self, now: float, *, fatal: bool = False, busy: bool = False, stand_in: bool = False) -> Attempt | None:
        """Say that the upstream in force failed, or that its stream ended.

        Args:
            now: The time.
            fatal: It is of no use to try it again soon: it answered 401, 403 or 404, or with a web page. It is left
                alone for its whole cool-down, even if there is no other.
            busy: Its provider has no connection to spare, which is no failure of the upstream: there is no cool-down,
                and its delay does not grow. Counts before `fatal`.
            stand_in: What failed is something else that stood in for it. When that is given up, the turn is the
                upstream's own.

        Returns:
            What to try next; None to give up.
        """
        self._end_of_play(now)
        record = self._records[self.current]
        back_to, self._back_to = self._back_to, None
        if busy:
            record.ready_at = now + self._retry.delay
        else:
            self._note_failure(record, now)
        if record.played and record.retries < self._retry.attempts and not (fatal or busy):
            record.retries += 1
            self.given_up = False
            index: int | None = self.current
        elif stand_in:
            self.given_up = True
            record.start_over()
            record.delay, record.ready_at = None, now
            index = self.current
        else:
            self.given_up = True
            self._leave(record, now, cooldown=0 if busy else self._failover.cooldown, fatal=fatal and not busy)
            index = self._next(now, busy=busy) if back_to is None else back_to
        attempt = None if index is None else self._attempt_in_time(index, now)
        self.given_up = self.given_up or attempt is None
        return attempt

    def switch(self, now: float, index: int | None = None) -> Attempt:
        """Leave the upstream in force by hand. What is chosen becomes the preferred one.

        Args:
            now: The time.
            index: The upstream to go to; None for the next one in order, whatever its state.

        Raises:
            ValueError: There is no such upstream.
        """
        if index is None:
            index = (self.current + 1) % len(self._records)
        if not 0 <= index < len(self._records):
            raise ValueError(f"no upstream {index} of {len(self._records)}")
        self._end_of_play(now)
        # Whoever intervenes gets the whole time for it, whatever was lost before.
        self._lost_at = now
        self._back_to = None
        self.preferred = index
        self._records[index].start_over()
        return self._attempt(index, now)

    def fail_back_at(self) -> float | None:
        """Return when to look at the preferred upstream again.

        Not before what plays instead is healthy: there must be something to come back to. None if the preferred one is
        in force, if nothing plays at the moment, or if it is never to be looked at again.
        """
        if self._failover.fail_back is None or self.current == self.preferred or self._playing_since is None:
            return None
        record = self._records[self.preferred]
        healthy_at = self._playing_since + self._failover.healthy_after
        return max(record.left_at + self._failover.fail_back, self._earliest(record), healthy_at)

    def fail_back(self, now: float) -> Attempt:
        """Return to the preferred upstream. If it fails before it plays, the next attempt is what plays now.

        To open it beside what plays, open it first, and then call this and `playing`; or else `put_off_fail_back`.
        """
        self._end_of_play(now)
        self._lost_at = now
        self._back_to = self.current if self.current != self.preferred else None
        return self._attempt(self.preferred, now)

    def put_off_fail_back(self, now: float) -> None:
        """Say that the preferred upstream was looked at, beside the one that plays, and is of no use yet."""
        self._leave(self._records[self.preferred], now, cooldown=self._failover.cooldown)

    def _end_of_play(self, now: float) -> None:
        """Close the books on what was playing: after a healthy while, nothing that failed before counts any more."""
        since, self._playing_since = self._playing_since, None
        if self._lost_at is None:
            self._lost_at = now
        if since is not None and now - since >= self._failover.healthy_after:
            self._lost_at = now
            record = self._records[self.current]
            record.delay = None
            record.retries = 0

    def _note_failure(self, record: "_Record", now: float) -> None:
        """Set when the upstream may be tried again: the first time at once, then after longer and longer delays."""
        if record.delay is None:
            record.delay = 0.0
        elif not record.delay:
            record.delay = self._retry.delay
        else:
            record.delay = min(record.delay * self._retry.backoff, self._retry.max_delay)
        delay = record.delay * (1 + self._retry.jitter * self._jitter())
        record.ready_at = now + delay

    def _leave(self, record: "_Record", now: float, *, cooldown: float, fatal: bool = False) -> None:
        record.start_over()
        record.left_at = now
        record.fatal = fatal
        record.cool_at = max(record.cool_at, now + cooldown)
        if fatal:
            record.ready_at = max(record.ready_at, record.cool_at)

    def _next(self, now: float, *, busy: bool) -> int | None:
        """Choose another upstream than the one in force, if there is another; None if each has had its chance."""
        candidates: Collection[int] = range(len(self._records))
        if self._untried is not None:
            self._untried.discard(self.current)
            candidates = self._untried
        elif not (self._retry.attempts or busy):
            candidates = [index for index in candidates if index != self.current]
        return min(candidates, key=lambda index: self._rank(index, now), default=None)

    def _rank(self, index: int, now: float) -> tuple[bool, bool, float, int]:
        """Rank an upstream for being next: the lowest is. The order breaks ties, the one in force being the last."""
        record = self._records[index]
        distance = (index - self.current - 1) % len(self._records)
        if record.cool_at > now:
            return True, record.fatal, record.cool_at, distance
        return False, False, max(now, self._earliest(record)), distance

    def _earliest(self, record: "_Record") -> float:
        return max(record.ready_at, record.tried_at + self._retry.delay)

    def _attempt_in_time(self, index: int, now: float) -> Attempt | None:
        at = max(now, self._earliest(self._records[index]))
        assert self._lost_at is not None
        if self._retry.total_timeout and at - self._lost_at > self._retry.total_timeout:
            return None
        return self._attempt(index, at)

    def _attempt(self, index: int, at: float) -> Attempt:
        self.current = index
        self._records[index].tried_at = at
        return Attempt(index, at)


@dataclass(slots=True)
class _Record:
    """What is known of an upstream.

    Attributes:
        played: Whether it has played since it was last given up.
        retries: Tries again since it was last given up or healthy.
        delay: Seconds that its last failure asked for, before jitter; None if it has not failed since it was healthy.
        tried_at: When its last attempt was to begin.
        ready_at: When it may be tried again.
        left_at: When it was last given up.
        cool_at: When its cool-down ends.
        fatal: Whether it was given up, the last time, for a reason that does not pass by trying again.
    """

    played: bool = False
    retries: int = 0
    delay: float | None = None
    tried_at: float = -math.inf
    ready_at: float = -math.inf
    left_at: float = -math.inf
    cool_at: float = -math.inf
    fatal: bool = False

    def start_over(self) -> None:
        """Forget how it went the last time it was in force."""
        self.played = False
        self.retries = 0
