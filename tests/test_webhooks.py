"""Webhooks are told of events in a time of their own, by a fake post."""

import asyncio
import hashlib
import hmac
import itertools
import json
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from streamproxy import __version__
from streamproxy.errors import UpstreamStalled
from streamproxy.events import ClientConnected, EventBus, FailoverTriggered, StreamFailed, StreamStopped
from streamproxy.tasks import Tasks
from streamproxy.webhooks import MOST_WAITING, MOST_WEBHOOKS, Webhook, Webhooks, normalised
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.virtual_time import in_virtual_time, now

SECRET = "s3cr3t-t0ken"
URL = f"http://hook.example/{SECRET}"
PROVIDER = f"http://provider.example/live/{SECRET}/{SECRET}/1.ts"


@dataclass(frozen=True)
class Posted:
    """A post, and when it was made."""

    at: float
    url: str
    body: bytes
    headers: Mapping[str, str]
    timeout: float
    foreign: bool

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class World:
    """What posts lead to.

    Attributes:
        answers: By address, what one post after the other is answered with; the last to all that follow. Others: 200.
        posts: All of them.
    """

    answers: dict[str, list[int | Exception | None]] = field(default_factory=dict)
    posts: list[Posted] = field(default_factory=list)

    async def post(self, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, foreign: bool) -> int:
        self.posts.append(Posted(now(), url, body, headers, timeout, foreign))
        left = self.answers.get(url, [200])
        answer = left.pop(0) if len(left) > 1 else left[0]
        if answer is None:
            await asyncio.sleep(timeout)
            raise UpstreamStalled("webhook", "no answer")
        if isinstance(answer, Exception):
            raise answer
        return answer

    def times(self, url: str = URL) -> list[float]:
        return [posted.at for posted in self.posts if posted.url == url]


@asynccontextmanager
async def webhooks(world: World, *hooks: Webhook, chance: float = 0) -> AsyncIterator[Webhooks]:
    async with Tasks() as tasks:
        told = Webhooks(world.post, tasks, jitter=lambda: chance)
        for hook in hooks:
            told.add(hook)
        yield told


def stopped(number: int = 0) -> StreamStopped:
    return StreamStopped(stream_id=str(number), reason="manual_deletion")


def failover() -> FailoverTriggered:
    return FailoverTriggered(
        stream_id="news",
        old_url=PROVIDER,
        new_url=PROVIDER,
        failover_index=0,
        attempt_number=1,
        reason="manual",
        client_count=2,
    )


async def test_an_event_is_posted_as_json_with_what_it_is_and_who_sends_it() -> None:
    world, event = World(), failover()
    async with webhooks(world, Webhook(URL, show_urls=True, timeout=7, foreign=True)) as told:
        told.listener(event)
        await told.settle(within=5)
        (outbox,) = told
    (posted,) = world.posts
    assert posted.json == event.payload(str)
    assert dict(posted.headers) == {
        "Content-Type": "application/json",
        "User-Agent": f"streamproxy/{__version__}",
        "X-Streamproxy-Event": "failover_triggered",
        "X-Streamproxy-Delivery": event.id,
    }
    assert (posted.timeout, posted.foreign) == (7, True)
    assert (outbox.delivered, outbox.failed, outbox.dropped, outbox.pending) == (1, 0, 0, 0)


async def test_its_own_headers_count_before_the_programs() -> None:
    world = World()
    async with webhooks(world, Webhook(URL, headers={"user-agent": "own/1", "Authorization": "Bearer 1"})) as told:
        told.listener(stopped())
        await told.settle(within=5)
    (posted,) = world.posts
    assert {name: value for name, value in posted.headers.items() if not name.startswith("X-")} == {
        "Content-Type": "application/json",
        "user-agent": "own/1",
        "Authorization": "Bearer 1",
    }


async def test_a_secret_signs_what_is_sent() -> None:
    world = World()
    async with webhooks(world, Webhook(URL, secret=SECRET)) as told:
        told.listener(stopped())
        await told.settle(within=5)
    (posted,) = world.posts
    signature = hmac.new(SECRET.encode(), posted.body, hashlib.sha256).hexdigest()
    assert posted.headers["X-Streamproxy-Signature"] == f"sha256={signature}"


async def test_only_who_may_see_them_is_told_the_addresses_of_providers() -> None:
    world = World()
    async with webhooks(
        world, Webhook("http://a/", show_urls=True), Webhook("http://b/"), Webhook("http://c/")
    ) as told:
        told.listener(failover())
        await told.settle(within=5)
    shown = {posted.url: posted.json["data"]["new_url"] for posted in world.posts}
    masked = "http://provider.example…"
    assert shown == {"http://a/": PROVIDER, "http://b/": masked, "http://c/": masked}
    assert [SECRET in posted.body.decode() for posted in world.posts] == [True, False, False]


async def test_an_event_is_written_once_for_all_who_are_told_the_same() -> None:
    class Counted(StreamStopped):
        def payload(self, show: Callable[[str], str]) -> dict[str, Any]:
            written.append(show)
            return super().payload(show)

    written: list[Callable[[str], str]] = []
    hooks = [Webhook(f"http://hook.example/{number}", show_urls=number < 2) for number in range(6)]
    async with webhooks(World(), *hooks, Webhook("http://other.example/", events=("splice",))) as told:
        told.listener(Counted(stream_id="1", reason="manual_deletion"))
        await told.settle(within=5)
    assert len(written) == 2


async def test_a_webhook_is_told_of_the_events_it_wants() -> None:
    world = World()
    wanted = ("client_connected", "stream_stopped")
    connected = ClientConnected(
        stream_id="1", client_id="c", user_agent="", ip_address="", username=None, stream_client_count=1
    )
    broken = StreamFailed(stream_id="1", error="", error_type="", reason="", bytes_served=0)
    async with webhooks(world, Webhook(URL, wanted), Webhook("http://all.example/")) as told:
        bus = EventBus()
        with bus.listening(told.listener):
            for event in (connected, broken, stopped()):
                bus.publish(event)
        await told.settle(within=5)
    names: dict[str, list[str]] = {}
    for posted in world.posts:
        names.setdefault(posted.url, []).append(posted.json["event_type"])
    assert names[URL] == list(wanted)
    assert names["http://all.example/"] == ["client_connected", "stream_failed", "stream_stopped"]


def test_what_fails_is_sent_again_after_1_2_and_4_seconds() -> None:
    async def tell() -> None:
        world = World({URL: [500]})
        async with webhooks(world, Webhook(URL)) as told:
            told.listener(stopped())
            await told.settle(within=60)
            (outbox,) = told
            assert world.times() == [0, 1, 3, 7]
            assert len({posted.headers["X-Streamproxy-Delivery"] for posted in world.posts}) == 1
            assert (outbox.delivered, outbox.failed) == (0, 1)

    in_virtual_time(tell())


def test_pauses_differ_a_little_and_have_an_end() -> None:
    async def tell() -> None:
        world = World({URL: [500]})
        async with webhooks(world, Webhook(URL, retry_attempts=100), chance=1) as told:
            told.listener(stopped())
            await told.settle(within=1e6)
            times = world.times()
            pauses = [later - sooner for sooner, later in itertools.pairwise(times)]
            assert len(pauses) == 100
            assert pauses[:3] == pytest.approx([1.1, 2.2, 4.4])
            assert pauses[-1] == pytest.approx(330)

    in_virtual_time(tell())


@pytest.mark.parametrize("answer", [400, 404, 408, 429, 500, 503, UpstreamStalled("webhook", "silent"), None])
def test_any_failure_may_be_over_the_next_time(answer: int | Exception | None) -> None:
    async def tell() -> None:
        world = World({URL: [answer, 204]})
        async with webhooks(world, Webhook(URL, timeout=2)) as told:
            told.listener(stopped())
            await told.settle(within=60)
            (outbox,) = told
            assert world.times() == [0, 3 if answer is None else 1]
            assert (outbox.delivered, outbox.failed) == (1, 0)

    in_virtual_time(tell())


@pytest.mark.parametrize("status", [200, 201, 202, 204, 302, 304])
async def test_any_status_below_400_will_do(status: int) -> None:
    world = World({URL: [status]})
    async with webhooks(world, Webhook(URL)) as told:
        told.listener(stopped())
        await told.settle(within=5)
        (outbox,) = told
        assert (len(world.posts), outbox.delivered) == (1, 1)


async def test_who_is_gone_for_good_is_not_told_again() -> None:
    world = World({URL: [410]})
    async with webhooks(world, Webhook(URL)) as told:
        told.listener(stopped())
        await told.settle(within=5)
        (outbox,) = told
        assert (len(world.posts), outbox.failed) == (1, 1)


def test_a_dead_webhook_delays_nobody() -> None:
    async def tell() -> None:
        world = World({URL: [None]})
        async with webhooks(world, Webhook(URL), Webhook("http://well.example/")) as told:
            for second in range(100):
                told.listener(stopped(second))
                await asyncio.sleep(1)
            dead, well = told
            assert world.times("http://well.example/") == list(range(100))
            assert (well.delivered, well.pending) == (100, 0)
            assert dead.delivered == 0
            assert dead.failed + dead.pending == 100

    in_virtual_time(tell())


def test_ten_thousand_events_at_once_are_delivered_or_counted_as_dropped() -> None:
    async def tell() -> None:
        world = World({URL: [None, 200]})
        async with webhooks(world, Webhook(URL, retry_attempts=0), Webhook("http://well.example/")) as told:
            told.listener(stopped(-1))
            await asyncio.sleep(1)
            for number in range(MOST_WAITING + 5):
                told.listener(stopped(number))
            slow, well = told
            assert slow.pending == MOST_WAITING + 1
            await told.settle(within=60)
            assert (well.delivered, well.failed, well.dropped) == (MOST_WAITING + 1, 0, 5)
            assert (slow.delivered, slow.failed, slow.dropped) == (MOST_WAITING, 1, 5)
            told_of = [int(posted.json["stream_id"]) for posted in world.posts if posted.url == URL]
            assert told_of == [-1, *range(5, MOST_WAITING + 5)]

    in_virtual_time(tell())


def test_a_mistake_in_one_event_is_not_the_end_of_the_others() -> None:
    async def tell() -> None:
        world = World({URL: [LookupError("no such thing"), 200]})
        async with webhooks(world, Webhook(URL)) as told:
            with capture_logs() as logs:
                told.listener(stopped(1))
                told.listener(stopped(2))
                await told.settle(within=60)
            (outbox,) = told
            assert (outbox.delivered, outbox.failed, outbox.pending) == (1, 1, 0)
            assert [line["event"] for line in logs] == ["webhook_broke"]

    in_virtual_time(tell())


def test_a_failing_webhook_is_told_of_once_and_by_its_host_alone() -> None:
    async def tell() -> None:
        world = World({URL: [500, 500, 500, 200]})
        hook = Webhook(URL, headers={"X-Key": SECRET}, secret=SECRET, retry_attempts=0)
        async with webhooks(world, hook) as told:
            with capture_logs() as logs:
                for number in range(5):
                    told.listener(stopped(number))
                await told.settle(within=60)
        assert [(line["event"], line["webhook"]) for line in logs] == [
            ("webhook_failed", "hook.example"),
            ("webhook_recovered", "hook.example"),
        ]
        assert SECRET not in str(logs)

    in_virtual_time(tell())


def test_dropped_events_are_told_of_once_until_there_is_room() -> None:
    async def tell() -> None:
        world = World()
        async with webhooks(world, Webhook(URL)) as told:
            with capture_logs() as logs:
                for _ in range(2):
                    for number in range(MOST_WAITING + 9):
                        told.listener(stopped(number))
                    await told.settle(within=60)
        assert [line["event"] for line in logs] == ["webhook_events_dropped"] * 2

    in_virtual_time(tell())


def test_nothing_of_a_webhook_shows_what_is_secret() -> None:
    assert SECRET not in repr(Webhook(URL, headers={"X-Key": SECRET}, secret=SECRET))


async def test_registering_again_changes_the_settings_and_keeps_the_rest() -> None:
    world = World()
    async with webhooks(world, Webhook("http://Hook.Example")) as told:
        told.listener(stopped(1))
        await told.settle(within=5)
        told.listener(stopped(2))
        again = told.add(Webhook("HTTP://hook.example:80/", ("splice",), retry_attempts=1))
        told.listener(stopped(3))
        await told.settle(within=5)
        assert list(told) == [again]
        assert again.hook == Webhook("http://hook.example/", ("splice",), retry_attempts=1)
        assert (again.delivered, len(world.posts)) == (2, 2)


async def test_what_is_dropped_is_told_of_nothing_any_more() -> None:
    world = World({URL: [None]})
    async with Tasks() as tasks:
        told = Webhooks(world.post, tasks)
        told.add(Webhook(URL))
        told.listener(stopped(1))
        told.listener(stopped(2))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert len(world.posts) == 1
        assert told.remove(URL)
        assert not told.remove(URL)
        assert not told.remove("no address")
        told.listener(stopped(3))
        while tasks._running:
            await asyncio.sleep(0)
        assert (len(world.posts), len(told)) == (1, 0)


@pytest.mark.parametrize(
    "hook",
    [
        Webhook(""),
        Webhook("hook.example"),
        Webhook(f"ftp://hook.example/{SECRET}"),
        Webhook(f"http://hook.example:port/{SECRET}"),
        Webhook(URL, headers={"Host": SECRET}),
        Webhook(URL, headers={"Content-Length": "0"}),
        Webhook(URL, headers={"X-Key": f"{SECRET}\r\nX: 1"}),
        Webhook(URL, headers={"X Key": SECRET}),
    ],
)
async def test_what_cannot_be_used_is_refused_without_being_quoted(hook: Webhook) -> None:
    async with webhooks(World()) as told:
        with pytest.raises(ValueError) as raised:
            told.add(hook)
        assert SECRET not in str(raised.value)
        assert len(told) == 0


async def test_there_are_no_more_than_a_few_hundred_besides_those_of_the_configuration() -> None:
    async with webhooks(World()) as told:
        told.configure(Webhook(f"http://own.example/{number}") for number in range(3))
        for number in range(MOST_WEBHOOKS):
            told.add(Webhook(f"http://hook.example/{number}"))
        with pytest.raises(ValueError, match="already"):
            told.add(Webhook("http://hook.example/one-more"))
        told.add(Webhook("http://hook.example/1", ("splice",)))
        told.configure(Webhook(f"http://own.example/{number}") for number in range(4))
        assert len(told) == MOST_WEBHOOKS + 4


async def test_those_of_the_configuration_change_with_it() -> None:
    async with webhooks(World(), Webhook("http://api.example/")) as told:
        told.configure([Webhook("http://one.example"), Webhook("http://two.example")])
        two = told.find("http://two.example/")
        told.configure([Webhook("http://two.example", timeout=1), Webhook("http://three.example")])
        assert {outbox.hook.url: outbox.hook.configured for outbox in told} == {
            "http://api.example/": False,
            "http://two.example/": True,
            "http://three.example/": True,
        }
        assert two is told.find("http://two.example/")
        assert two is not None
        assert two.hook.timeout == 1


async def test_those_of_the_api_are_there_again_after_a_restart() -> None:
    hook = Webhook(URL, ("splice",), {"X-Key": "1"}, 7.5, 9, SECRET, foreign=True, show_urls=True)
    async with webhooks(World(), hook, Webhook("http://plain.example/")) as told:
        told.configure([Webhook("http://configured.example/")])
        state = json.loads(json.dumps(told.to_state()))
    assert [kept.keys() & {"configured", "foreign"} for kept in state] == [set(), set()]
    async with webhooks(World()) as told:
        told.from_state(state, foreign=False)
        assert [outbox.hook for outbox in told] == [replace(hook, foreign=False), Webhook("http://plain.example/")]
        told.from_state(state, foreign=True)
        assert [outbox.hook.foreign for outbox in told] == [True, True]


@pytest.mark.parametrize(
    "damaged",
    [
        None,
        {},
        [7],
        [{}],
        [{"url": None}],
        [{"url": SECRET}],
        [{"url": URL, "events": SECRET}],
        [{"url": URL, "headers": [SECRET]}],
    ],
)
async def test_a_damaged_state_is_an_error_that_does_not_quote_it(damaged: object) -> None:
    async with webhooks(World()) as told:
        with pytest.raises(ValueError) as raised:
            told.from_state(damaged, foreign=True)
        assert SECRET not in str(raised.value)


def test_a_test_goes_to_one_webhook_past_all_that_waits() -> None:
    async def tell() -> None:
        world = World({URL: [None, 200]})
        async with webhooks(world, Webhook(URL, ("splice", "stream_stopped")), Webhook("http://b.example/")) as told:
            told.listener(stopped(1))
            told.listener(stopped(2))
            await asyncio.sleep(1)
            event, taken = await told.test(URL)
            posted = world.posts[-1]
            assert now() == 1
            outbox = told.find(URL)
            assert outbox is not None
            assert (taken, outbox.delivered, outbox.pending) == (True, 1, 2)
        assert posted.json == event.payload(str) | {
            "event_type": "stream_started",
            "stream_id": "test_stream_123",
            "data": {
                "test": True,
                "message": "This is a test of a webhook",
                "primary_url": "http://example.com/test.m3u8",
            },
        }
        assert posted.headers["X-Streamproxy-Delivery"] == event.id
        assert Counter(post.url for post in world.posts)["http://b.example/"] == 2

    in_virtual_time(tell())


def test_a_test_is_sent_again_like_any_event_and_may_fail() -> None:
    async def tell() -> None:
        world = World({URL: [500]})
        async with webhooks(world, Webhook(URL, retry_attempts=2)) as told:
            _, taken = await told.test(URL)
            (outbox,) = told
            assert (taken, world.times(), outbox.failed) == (False, [0, 1, 3], 1)

    in_virtual_time(tell())


def test_what_else_is_taken_meanwhile_says_nothing_of_a_test() -> None:
    async def tell() -> None:
        world = World({URL: [None, 200]})
        async with webhooks(world, Webhook(URL, retry_attempts=0)) as told:
            testing = asyncio.create_task(told.test(URL))
            await asyncio.sleep(1)
            told.listener(stopped())
            _, taken = await testing
            (outbox,) = told
            assert (taken, outbox.delivered, outbox.failed) == (False, 1, 1)

    in_virtual_time(tell())


def test_a_test_that_takes_too_long_was_not_taken() -> None:
    async def tell() -> None:
        async with webhooks(World({URL: [500]}), Webhook(URL, retry_attempts=9)) as told:
            _, taken = await told.test(URL, within=30)
            assert (taken, now()) == (False, 30)

    in_virtual_time(tell())


@pytest.mark.parametrize("url", ["http://other.example/", "", "no address"])
async def test_who_is_not_registered_cannot_be_tested(url: str) -> None:
    async with webhooks(World(), Webhook(URL)) as told:
        with pytest.raises(KeyError):
            await told.test(url)


def test_waiting_for_the_last_events_has_an_end() -> None:
    async def tell() -> None:
        async with webhooks(World({URL: [None]}), Webhook(URL)) as told:
            told.listener(stopped())
            await told.settle(within=3)
            assert now() == 3

    in_virtual_time(tell())


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://hook.example", "http://hook.example/"),
        ("HTTP://Hook.Example:80", "http://hook.example/"),
        ("https://hook.example:443/A", "https://hook.example/A"),
        ("http://hook.example:443", "http://hook.example:443/"),
        ("http://hook.example:/", "http://hook.example/"),
        ("http://hook.example?x=Y", "http://hook.example/?x=Y"),
        ("http://hook.example/#part", "http://hook.example/"),
        (" http://hook.example/ ", "http://hook.example/"),
        ("http://Name:Word@hook.example", "http://Name:Word@hook.example/"),
        ("http://[2001:DB8::1]", "http://[2001:db8::1]/"),
        ("http://hook.example/a b/../%2f", "http://hook.example/a%20b/../%2f"),
        ("http://bücher.example", "http://xn--bcher-kva.example/"),
    ],
)
def test_an_address_is_written_in_one_way(written: str, meant: str) -> None:
    assert normalised(written) == meant


@given(st.text() | st.text().map("http://{}".format) | st.from_regex(r"https?://[\w.:@\[\]-]+[/?#]\S*", fullmatch=True))
def test_an_address_that_is_written_in_one_way_stays_so(url: str) -> None:
    try:
        once = normalised(url)
    except ValueError:
        return
    assert normalised(once) == once
