"""Which upstream is tried next, and when; played through on a clock that only the tests move."""

from dataclasses import dataclass, replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from streamproxy.broadcast.failover import Attempt, Failover, FailoverTerms, RetryTerms

RETRY = RetryTerms(attempts=2, delay=1, backoff=2, max_delay=10, jitter=0, total_timeout=0)
FAILOVER = FailoverTerms(cooldown=60, fail_back=None, healthy_after=10)


def a_failover(
    upstreams: int, retry: RetryTerms = RETRY, failover: FailoverTerms = FAILOVER, *, random: float = 0
) -> Failover:
    return Failover(upstreams, retry, failover, jitter=lambda: random)


def a_playing_one(upstreams: int, retry: RetryTerms = RETRY, failover: FailoverTerms = FAILOVER) -> Failover:
    """Return a channel that began at -1000 and has played its first upstream ever since."""
    policy = a_failover(upstreams, retry, failover)
    policy.begin(-1000)
    policy.playing(-1000)
    return policy


def what_follows(policy: Failover, now: float, attempts: int, *, fails_after: float = 0) -> list[Attempt]:
    """Let the upstream in force fail now, and each that is tried so many seconds after it is opened."""
    found = []
    for _ in range(attempts):
        attempt = policy.lost(now)
        assert attempt is not None
        found.append(attempt)
        now = attempt.at + fails_after
    return found


# The first picture


def test_a_channel_begins_with_its_first_upstream_at_once() -> None:
    assert a_failover(3).begin(5) == Attempt(0, 5)


def test_while_nothing_has_played_each_upstream_is_tried_once_and_at_once() -> None:
    policy = a_failover(3)
    policy.begin(0)

    assert policy.lost(1) == Attempt(1, 1)
    assert policy.lost(2) == Attempt(2, 2)
    assert policy.lost(3) is None


def test_a_single_upstream_that_never_played_is_given_up_at_its_first_failure() -> None:
    policy = a_failover(1)
    policy.begin(0)

    assert policy.lost(1) is None


def test_a_first_picture_is_not_waited_for_beyond_the_total_timeout() -> None:
    policy = a_failover(3, replace(RETRY, total_timeout=30))
    policy.begin(0)

    assert policy.lost(30) == Attempt(1, 30)
    assert policy.lost(30.1) is None


def test_the_one_that_was_chosen_before_is_the_first_and_the_preferred_one() -> None:
    policy = Failover(3, RETRY, FAILOVER, jitter=lambda: 0, preferred=2)

    assert policy.begin(0) == Attempt(2, 0)
    assert policy.preferred == 2
    assert policy.lost(1) == Attempt(0, 1)


def test_every_upstream_that_is_busy_at_the_beginning_gives_the_channel_up() -> None:
    policy = a_failover(2)
    policy.begin(0)

    assert policy.lost(0, busy=True) == Attempt(1, 0)
    assert policy.lost(0, busy=True) is None


# What was lost is tried again


def test_what_has_played_is_opened_again_at_once_and_then_after_growing_delays() -> None:
    policy = a_playing_one(1, replace(RETRY, attempts=9))

    found = what_follows(policy, 0, 7)

    assert [attempt.at for attempt in found] == [0, 1, 3, 7, 15, 25, 35]


def test_a_delay_counts_from_the_failure() -> None:
    policy = a_playing_one(1)

    assert [attempt.at for attempt in what_follows(policy, 0, 3, fails_after=5)] == [0, 6, 13]


@pytest.mark.parametrize(("random", "at"), [(0.0, 11), (0.5, 11.25), (1.0, 11.5)])
def test_jitter_makes_a_delay_longer_by_up_to_its_share(random: float, at: float) -> None:
    policy = a_failover(1, replace(RETRY, jitter=0.5), random=random)
    policy.begin(0)
    policy.playing(0)
    policy.lost(10)

    assert policy.lost(10) == Attempt(0, at)


def test_after_its_attempts_the_next_upstream_is_tried_at_once() -> None:
    policy = a_playing_one(2)

    assert what_follows(policy, 0, 3) == [Attempt(0, 0), Attempt(0, 1), Attempt(1, 1)]


def test_without_attempts_the_next_upstream_is_tried_straight_away() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0))

    assert policy.lost(0) == Attempt(1, 0)


def test_what_it_is_of_no_use_to_retry_is_not_retried() -> None:
    policy = a_playing_one(2)

    assert policy.lost(0, fatal=True) == Attempt(1, 0)


def test_an_upstream_that_plays_only_for_moments_uses_its_attempts_up() -> None:
    policy = a_playing_one(2)

    tried = []
    now = 0.0
    for _ in range(3):
        attempt = policy.lost(now)
        assert attempt is not None
        tried.append(attempt.index)
        policy.playing(attempt.at)
        now = attempt.at + 5

    assert tried == [0, 0, 1]


def test_after_a_healthy_while_a_loss_is_a_new_one() -> None:
    policy = a_playing_one(2)
    policy.lost(0)
    policy.lost(0)
    policy.playing(1)

    assert policy.lost(11) == Attempt(0, 11)
    assert policy.lost(11) == Attempt(0, 12)


def test_it_may_be_said_again_and_again_that_an_upstream_plays() -> None:
    policy = a_playing_one(2)
    policy.lost(0)
    policy.lost(0)
    for now in range(1, 11):
        policy.playing(now)

    assert policy.lost(11) == Attempt(0, 11)


def test_an_upstream_that_was_given_up_is_not_retried_before_it_has_played_again() -> None:
    policy = a_playing_one(2, RETRY, replace(FAILOVER, cooldown=0))

    assert policy.lost(0, fatal=True) == Attempt(1, 0)
    assert policy.lost(1) == Attempt(0, 1)
    assert policy.lost(2) == Attempt(1, 2)


def test_an_upstream_that_did_not_play_when_its_turn_came_is_left_for_the_next_at_once() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=1))

    assert [attempt.index for attempt in what_follows(policy, 0, 3)] == [0, 1, 2]


# Taking turns


def test_after_the_last_upstream_comes_the_first() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0), replace(FAILOVER, cooldown=0))

    assert [attempt.index for attempt in what_follows(policy, 0, 6, fails_after=1)] == [1, 2, 0, 1, 2, 0]


def test_when_all_are_cooling_the_one_that_is_free_first_is_tried_after_its_delay_only() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0))

    assert what_follows(policy, 0, 4) == [Attempt(1, 0), Attempt(0, 0), Attempt(1, 1), Attempt(0, 1)]


def test_an_upstream_in_its_cool_down_is_passed_over() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0)
    policy.lost(1)  # the second is left alone until 61
    policy.playing(1)
    policy.switch(40, 0)
    policy.playing(40)

    assert policy.lost(60.9) == Attempt(2, 60.9)


def test_an_upstream_is_tried_again_after_its_cool_down() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0)
    policy.lost(1)  # the second is left alone until 61
    policy.playing(1)
    policy.switch(40, 0)
    policy.playing(40)

    assert policy.lost(61) == Attempt(1, 61)


def test_one_that_need_not_be_waited_for_comes_before_one_that_was_only_just_tried() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0)
    policy.playing(0)
    policy.switch(0.5, 0)

    assert policy.lost(0.6) == Attempt(2, 0.6)


def test_a_single_upstream_is_tried_until_the_total_timeout() -> None:
    policy = a_playing_one(1, replace(RETRY, total_timeout=10))

    assert [attempt.at for attempt in what_follows(policy, 0, 4)] == [0, 1, 3, 7]
    assert policy.lost(7) is None


def test_the_total_timeout_counts_from_the_loss_whatever_played_for_moments_since() -> None:
    policy = a_playing_one(1, replace(RETRY, total_timeout=30))
    policy.lost(0)
    policy.playing(1)
    policy.lost(9)
    policy.playing(25)

    assert policy.lost(31) is None


def test_the_total_timeout_of_the_first_loss_counts_from_that() -> None:
    policy = a_failover(1, replace(RETRY, total_timeout=30))
    policy.begin(0)
    policy.playing(29)

    assert policy.lost(38) == Attempt(0, 38)
    assert policy.lost(38 + 29) == Attempt(0, 68)
    assert policy.lost(68) is None


def test_a_healthy_while_begins_the_total_timeout_anew() -> None:
    policy = a_playing_one(1, replace(RETRY, total_timeout=30))
    policy.lost(0)
    policy.playing(20)

    assert policy.lost(31) == Attempt(0, 31)


def test_a_fatal_failure_is_left_alone_for_its_whole_cool_down_even_if_there_is_no_other() -> None:
    policy = a_playing_one(1)

    assert policy.lost(0, fatal=True) == Attempt(0, 60)


def test_of_those_that_cool_down_the_one_that_failed_for_good_comes_last() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0, fatal=True)
    policy.lost(1)

    assert policy.lost(2) == Attempt(1, 2)


def test_what_cannot_be_tried_before_the_total_timeout_is_given_up_at_once() -> None:
    policy = a_playing_one(1, replace(RETRY, total_timeout=30))

    assert policy.lost(0, fatal=True) is None


# No free connection


def test_a_provider_without_a_free_connection_is_passed_over() -> None:
    policy = a_playing_one(2)
    policy.lost(0)

    assert policy.lost(0, busy=True) == Attempt(1, 0)


def test_a_single_busy_upstream_is_tried_again_after_the_delay_which_does_not_grow() -> None:
    policy = a_playing_one(1)
    policy.lost(0)

    found = [policy.lost(now, busy=True) for now in (0, 1, 2)]

    assert found == [Attempt(0, 1), Attempt(0, 2), Attempt(0, 3)]


def test_two_busy_upstreams_are_not_tried_in_a_busy_loop() -> None:
    policy = a_playing_one(2)
    policy.lost(0, busy=True)

    assert policy.lost(0, busy=True) == Attempt(0, 1)
    assert policy.lost(1, busy=True) == Attempt(1, 1)
    assert policy.lost(1, busy=True) == Attempt(0, 2)


def test_a_busy_upstream_has_no_cool_down() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0)
    policy.lost(5, busy=True)

    assert policy.lost(6) == Attempt(1, 6)


def test_without_retries_a_channel_ends_with_its_only_upstream() -> None:
    policy = a_playing_one(1, replace(RETRY, attempts=0))

    assert policy.lost(0) is None


def test_a_provider_that_is_busy_says_nothing_else() -> None:
    policy = a_playing_one(1)
    policy.lost(0)

    assert policy.lost(1, fatal=True, busy=True) == Attempt(0, 2)


def test_a_busy_upstream_keeps_the_cool_down_it_has() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.switch(-100)
    policy.lost(0)  # the second is left alone until 60
    policy.lost(1)  # the third until 61
    policy.lost(2)  # the first until 62
    policy.switch(3, 0)

    assert policy.lost(4, busy=True) == Attempt(1, 4)


# By hand


def test_a_switch_by_hand_is_one_step_at_once() -> None:
    policy = a_playing_one(3)

    assert policy.switch(0) == Attempt(1, 0)
    assert policy.switch(0) == Attempt(2, 0)
    assert policy.switch(0) == Attempt(0, 0)


def test_a_switch_by_hand_goes_where_it_is_told_whatever_cools_down() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0))
    policy.lost(0)
    policy.playing(1)

    assert policy.switch(2, 0) == Attempt(0, 2)


def test_a_switch_by_hand_counts_no_failure() -> None:
    policy = a_playing_one(2)
    policy.switch(0)

    assert policy.lost(0) == Attempt(0, 0)


def test_what_was_left_by_hand_is_not_opened_again_within_the_delay() -> None:
    policy = a_failover(2)
    policy.begin(0)
    policy.playing(0)
    policy.switch(0.1)

    assert policy.lost(0.2) == Attempt(0, 1)


def test_a_switch_by_hand_gets_the_whole_time() -> None:
    policy = a_playing_one(2, replace(RETRY, total_timeout=30))
    policy.lost(0)
    policy.switch(29)

    assert policy.lost(45) == Attempt(0, 45)


def test_what_was_chosen_by_hand_and_does_not_play_is_not_retried() -> None:
    policy = a_playing_one(2)
    policy.switch(0)
    policy.playing(0)
    policy.switch(5)

    assert policy.lost(6) == Attempt(1, 6)


@pytest.mark.parametrize("index", [-1, 3])
def test_there_is_no_switch_to_what_is_not_there(index: int) -> None:
    with pytest.raises(ValueError):
        a_playing_one(3).switch(0, index)


def test_a_switch_before_the_first_picture_leaves_each_upstream_its_one_chance() -> None:
    policy = a_failover(3)
    policy.begin(0)
    policy.switch(0, 2)

    assert policy.lost(1) == Attempt(0, 1)
    assert policy.lost(2) == Attempt(1, 2)
    assert policy.lost(3) is None


# Back to the preferred one

RETURNING = replace(FAILOVER, fail_back=300)


def test_the_preferred_upstream_is_looked_at_again_a_while_after_it_was_left() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0), RETURNING)
    policy.lost(7)
    policy.playing(8)

    assert policy.fail_back_at() == 307


def test_without_fail_back_it_never_is() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0), FAILOVER)
    policy.lost(7)
    policy.playing(8)

    assert policy.fail_back_at() is None


def test_there_is_nothing_to_fail_back_to_while_the_preferred_one_is_in_force() -> None:
    assert a_playing_one(2, RETRY, RETURNING).fail_back_at() is None


def test_there_is_no_failing_back_while_nothing_plays() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0), RETURNING)
    policy.lost(7)

    assert policy.fail_back_at() is None


def test_there_is_no_failing_back_before_what_plays_is_healthy() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0), RETURNING)
    policy.lost(0)
    policy.playing(299)

    assert policy.fail_back_at() == 309


def test_a_fail_back_that_does_not_play_returns_to_what_did() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0, total_timeout=30), RETURNING)
    policy.lost(0)
    policy.lost(0)
    policy.playing(0)

    assert policy.fail_back(300) == Attempt(0, 300)
    assert policy.lost(302) == Attempt(2, 302)
    policy.playing(303)
    assert policy.fail_back_at() == 602


def test_the_preferred_upstream_is_not_looked_at_while_it_is_of_no_use() -> None:
    policy = a_playing_one(2, RETRY, replace(RETURNING, cooldown=900))
    policy.lost(0, fatal=True)
    policy.playing(1)

    assert policy.fail_back_at() == 900


def test_a_fail_back_gets_the_whole_time() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0, total_timeout=30), RETURNING)
    policy.lost(0)
    policy.playing(20)
    policy.fail_back(25)

    assert policy.lost(40) == Attempt(1, 40)


def test_a_switch_by_hand_takes_the_place_of_a_fail_back() -> None:
    policy = a_playing_one(4, replace(RETRY, attempts=0), RETURNING)
    for _ in range(3):
        policy.lost(0)
    policy.playing(0)
    policy.fail_back(300)
    policy.switch(301, 1)

    assert policy.lost(302) == Attempt(2, 302)


def test_what_a_fail_back_returns_to_has_its_attempts() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=1), RETURNING)
    policy.lost(0)
    policy.lost(0)
    policy.playing(0)
    policy.fail_back(300)
    policy.lost(302)

    assert policy.lost(310) == Attempt(1, 310)


def test_a_fail_back_that_plays_is_lost_like_any_other() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0), RETURNING)
    policy.lost(0)
    policy.lost(0)
    policy.playing(0)
    policy.fail_back(300)
    policy.playing(301)

    assert policy.fail_back_at() is None
    assert policy.lost(400) == Attempt(1, 400)


def test_a_fail_back_may_be_put_off() -> None:
    policy = a_playing_one(2, replace(RETRY, attempts=0), RETURNING)
    policy.lost(0)
    policy.playing(1)
    policy.put_off_fail_back(300)

    assert policy.fail_back_at() == 600
    assert policy.current == 1


def test_what_was_chosen_by_hand_is_preferred_from_then_on() -> None:
    policy = a_playing_one(3, replace(RETRY, attempts=0), RETURNING)
    policy.switch(0, 2)
    policy.playing(0)

    assert policy.fail_back_at() is None
    policy.lost(100)
    policy.playing(101)
    assert policy.fail_back_at() == 400
    assert policy.fail_back(400) == Attempt(2, 400)


# Whatever happens

TIMES = st.floats(0, 100, allow_nan=False)
RETRIES = st.builds(
    RetryTerms,
    attempts=st.integers(0, 4),
    delay=st.floats(0.1, 10),
    backoff=st.floats(1, 3),
    max_delay=st.floats(0.1, 60),
    jitter=st.floats(0, 1),
    total_timeout=st.one_of(st.just(0.0), st.floats(1, 300)),
)
FAILOVERS = st.builds(
    FailoverTerms,
    cooldown=st.floats(0, 120),
    fail_back=st.one_of(st.none(), st.floats(1, 300)),
    healthy_after=st.floats(0, 60),
)


@dataclass
class Seen:
    """What the outside knows of an upstream: when it was last to be tried, and until when it is cooling."""

    tried_at: float = float("-inf")
    cool_at: float = float("-inf")


class AnyLife(RuleBasedStateMachine):
    """A channel to which everything happens, in any order and at any time."""

    policy: Failover
    upstreams: list[Seen]
    random: float
    now: float
    attempt: Attempt | None
    ever_played: bool
    nothing_healthy_since: float
    played_since: float | None

    @initialize(count=st.integers(1, 4), retry=RETRIES, failover=FAILOVERS)
    def begin(self, count: int, retry: RetryTerms, failover: FailoverTerms) -> None:
        self.retry, self.failover = retry, failover
        self.random = 0
        self.policy = Failover(count, retry, failover, jitter=lambda: self.random)
        self.upstreams = [Seen() for _ in range(count)]
        self.ever_played = False
        self.losses_before_play = self.switches_before_play = 0
        self.nothing_healthy_since = 0.0
        self.played_since = None
        self.now = 0
        self.attempt = None
        self.follow(self.policy.begin(0))

    def follow(self, attempt: Attempt) -> None:
        assert attempt.at >= self.now, "told to do something in the past"
        assert attempt.index == self.policy.current
        self.upstreams[attempt.index].tried_at = attempt.at
        self.attempt = attempt
        self.now = attempt.at
        self.played_since = None

    def note_end_of_play(self) -> None:
        if self.played_since is not None and self.now - self.played_since >= self.failover.healthy_after:
            self.nothing_healthy_since = self.now

    @precondition(lambda self: self.attempt is not None)
    @rule(after=TIMES)
    def play(self, after: float) -> None:
        self.now += after
        self.policy.playing(self.now)
        if self.played_since is None:
            self.played_since = self.now
        self.ever_played = True

    @precondition(lambda self: self.attempt is not None)
    @rule(after=st.one_of(st.just(0.0), TIMES), random=st.floats(0, 1), how=st.sampled_from(("", "fatal", "busy")))
    def lose(self, after: float, random: float, how: str) -> None:
        assert self.attempt is not None
        self.now += after
        self.random = random
        lost = self.attempt.index
        first_loss = self.ever_played and self.losses_before_play >= 0
        if first_loss:
            self.losses_before_play = -1
            self.nothing_healthy_since = self.now
        self.note_end_of_play()
        then = self.now
        attempt = self.policy.lost(self.now, fatal=how == "fatal", busy=how == "busy")
        self.check_giving_up(attempt)
        if attempt is None:
            self.attempt = None
            return
        again = attempt.index == lost
        if (not again or how == "fatal") and how != "busy":
            self.upstreams[lost].cool_at = max(self.upstreams[lost].cool_at, then + self.failover.cooldown)
        target = self.upstreams[attempt.index]
        assert attempt.at >= target.tried_at + self.retry.delay - 1e-6, "the same upstream again too soon"
        longest = max(self.retry.delay, self.retry.max_delay) * 2
        assert attempt.at <= max(then + longest, target.cool_at), "waits for longer than anybody asked for"
        if not again and target.cool_at > then:
            free = [seen for seen in self.upstreams if seen.cool_at <= then and seen is not self.upstreams[lost]]
            assert not free or not self.ever_played, "one in its cool-down was chosen although another is free"
        self.follow(attempt)

    def check_giving_up(self, attempt: Attempt | None) -> None:
        deadline = self.nothing_healthy_since + (self.retry.total_timeout or float("inf"))
        if attempt is not None:
            assert attempt.at <= deadline + 1e-6, "goes on after the total timeout"
        elif self.ever_played and (self.retry.attempts or len(self.upstreams) > 1):
            assert deadline < float("inf"), "gave up what should never be given up"
        if not self.ever_played:
            self.losses_before_play += 1
            assert attempt is None or self.losses_before_play < len(self.upstreams) + self.switches_before_play

    @precondition(lambda self: self.attempt is not None)
    @rule(after=TIMES, where=st.one_of(st.none(), st.integers(0, 3)))
    def switch(self, after: float, where: int | None) -> None:
        self.now += after
        before = self.policy.current
        count = len(self.upstreams)
        index = None if where is None else where % count
        attempt = self.policy.switch(self.now, index)
        assert attempt == Attempt((before + 1) % count if index is None else index, self.now)
        self.switches_before_play += 1
        if self.ever_played:
            self.losses_before_play = -1
        self.nothing_healthy_since = self.now
        self.follow(attempt)

    @precondition(lambda self: self.attempt is None)
    @rule(count=st.integers(1, 4), retry=RETRIES, failover=FAILOVERS)
    def another_life(self, count: int, retry: RetryTerms, failover: FailoverTerms) -> None:
        self.begin(count, retry, failover)

    @precondition(lambda self: self.attempt is not None and self.policy.fail_back_at() is not None)
    @rule(beside=st.booleans())
    def fail_back(self, beside: bool) -> None:
        at = self.policy.fail_back_at()
        assert at is not None
        assert self.failover.fail_back is not None
        assert self.policy.current != self.policy.preferred
        self.now = max(self.now, at)
        if beside:
            self.policy.put_off_fail_back(self.now)
            seen = self.upstreams[self.policy.preferred]
            seen.cool_at = max(seen.cool_at, self.now + self.failover.cooldown)
            again = self.policy.fail_back_at()
            assert again is not None
            assert again >= self.now + self.failover.fail_back
            return
        self.losses_before_play = -1
        self.nothing_healthy_since = self.now
        attempt = self.policy.fail_back(self.now)
        assert attempt == Attempt(self.policy.preferred, self.now)
        self.follow(attempt)

    @invariant()
    def the_one_in_force_exists(self) -> None:
        assert 0 <= self.policy.current < len(self.upstreams)


TestAnyLife = AnyLife.TestCase
TestAnyLife.settings = settings(max_examples=150, stateful_step_count=30, deadline=None)


@given(st.integers(1, 5), RETRIES, FAILOVERS, st.lists(st.floats(0, 20), min_size=1), st.booleans())
@settings(deadline=None)
def test_a_channel_whose_upstreams_all_stay_dead_is_given_up(
    count: int, retry: RetryTerms, failover: FailoverTerms, latencies: list[float], fatal: bool
) -> None:
    retry = replace(retry, total_timeout=retry.total_timeout or 60)
    policy = a_playing_one(count, retry, failover)
    now, tried = 0.0, 0

    attempt = policy.lost(now)
    while attempt is not None:
        now = attempt.at + latencies[tried % len(latencies)]
        tried += 1
        attempt = policy.lost(now, fatal=fatal)

    assert tried <= count * (retry.total_timeout / retry.delay + 2)


@given(st.integers(1, 5), RETRIES, FAILOVERS)
@settings(deadline=None)
def test_no_upstream_is_forgotten(count: int, retry: RetryTerms, failover: FailoverTerms) -> None:
    assume(retry.attempts or count > 1)
    policy = a_playing_one(count, replace(retry, total_timeout=0), failover)

    found = what_follows(policy, 0, retry.attempts + 12 * count)

    assert {attempt.index for attempt in found[-4 * count :]} == set(range(count))


# What stands in for an upstream


def test_what_stood_in_is_tried_again_as_the_upstream_itself_would_be() -> None:
    policy = a_playing_one(2)

    assert policy.lost(0, stand_in=True) == Attempt(0, 0)
    assert not policy.given_up
    assert policy.lost(0.5, stand_in=True) == Attempt(0, 1.5)
    assert not policy.given_up


def test_when_what_stood_in_is_given_up_the_turn_is_the_upstreams_own_as_soon_as_may_be() -> None:
    policy = a_playing_one(2)
    policy.lost(0, stand_in=True)
    policy.lost(0.5, stand_in=True)

    assert policy.lost(2, stand_in=True) == Attempt(0, 2.5)
    assert policy.given_up


def test_the_failures_of_what_stood_in_do_not_keep_the_upstream_from_being_tried() -> None:
    policy = a_playing_one(3)
    policy.lost(0, fatal=True)
    policy.playing(1)

    assert policy.lost(2, fatal=True, stand_in=True) == Attempt(1, 2)
    assert policy.given_up
    assert policy.lost(2.1) == Attempt(2, 2.1)


def test_who_is_given_up_for_want_of_time_is_given_up() -> None:
    policy = a_playing_one(1, replace(RETRY, total_timeout=30))

    assert policy.lost(0) == Attempt(0, 0)
    assert not policy.given_up
    assert policy.lost(31) is None
    assert policy.given_up
