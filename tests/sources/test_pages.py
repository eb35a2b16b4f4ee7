"""Pages of which a fake tells where their streams are."""

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from streamproxy.config import Config
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamOffline,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from streamproxy.model import Channel, RelayMode, Source, StreamFormat, StreamKind, Upstream
from streamproxy.sources import UnknownSource, source_of
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource
from streamproxy.sources.http import HttpSource
from streamproxy.sources.pages import PageResolver, PageSource, ResolvedStream
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import HlsOrigin, Jumps, Recorder, hls_origin, media, numbers, segment
from tests.helpers.pages import Clock
from tests.helpers.proxy import config, running
from tests.helpers.stream import Run, packets, runs

PAGE = "<!DOCTYPE html><html><title>A film</title></html>"
SECRET = "s3cr3t-t0ken"
"""A canary: it stands in addresses and headers, and must not show."""

SITE = Upstream(f"https://site.example/watch?v={SECRET}", "film")


def stream(path: str = "/1", kind: StreamKind = StreamKind.HLS, **headers: str) -> ResolvedStream:
    return ResolvedStream(f"http://cdn.example{path}", headers, kind)


# One look at a page for all


@dataclass
class Finder:
    """Looks at pages as a plugin does: in a thread, for as long as the test says.

    Attributes:
        outcomes: What is found, one look after the other; the last for all that follow.
        looks: Labels and qualities of the looks.
        most: Looks in the same moment.
    """

    outcomes: list[ResolvedStream | Exception] = field(default_factory=lambda: [stream()])
    looks: list[tuple[str, str]] = field(default_factory=list)
    most: int = 0
    open: threading.Event = field(default_factory=threading.Event)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _now: int = 0

    def __post_init__(self) -> None:
        self.open.set()

    def __call__(self, upstream: Upstream, quality: str, timeout: float) -> ResolvedStream:
        with self._lock:
            self.looks.append((upstream.label, quality))
            self._now += 1
            self.most = max(self.most, self._now)
            outcome = self.outcomes.pop(0) if len(self.outcomes) > 1 else self.outcomes[0]
        assert self.open.wait(10)
        with self._lock:
            self._now -= 1
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


async def until(condition: Callable[[], object]) -> None:
    """Wait for what happens in a thread."""
    async with asyncio.timeout(5):
        while not condition():
            await asyncio.sleep(0.001)


async def test_a_page_is_looked_at_once_for_all_who_ask_in_the_meantime() -> None:
    find = Finder()
    find.open.clear()
    pages = PageResolver(find)
    asked = [asyncio.create_task(pages.resolve(SITE, "best", timeout=5)) for _ in range(20)]
    await until(lambda: find.looks)
    asked[0].cancel()
    find.open.set()
    found = await asyncio.gather(*asked[1:])
    assert {each.url for each in found} == {"http://cdn.example/1"}
    assert find.looks == [("film", "best")]


async def test_what_was_found_is_remembered_for_five_minutes_for_the_same_page_quality_and_headers() -> None:
    find, clock = Finder(), Clock()
    pages = PageResolver(find, clock=clock)
    await pages.resolve(SITE, "best", timeout=5)
    clock.now += 299
    await pages.resolve(SITE, "best", timeout=5)
    assert len(find.looks) == 1
    await pages.resolve(SITE, "720p", timeout=5)
    await pages.resolve(Upstream(SITE.url, "film", {"Cookie": "a=b"}), "best", timeout=5)
    await pages.resolve(Upstream("https://site.example/other", "film"), "best", timeout=5)
    assert len(find.looks) == 4
    clock.now += 2
    await pages.resolve(SITE, "best", timeout=5)
    assert len(find.looks) == 5


async def test_a_page_that_a_stranger_named_is_not_looked_at() -> None:
    finder = Finder([stream()])
    pages = PageResolver(finder)
    await pages.resolve(SITE, "best", timeout=5)
    with pytest.raises(UpstreamNotMedia, match=r"web page; .* need api\.local_urls") as raised:
        await pages.resolve(replace(SITE, foreign=True), "best", timeout=5)
    assert len(finder.looks) == 1
    assert SECRET not in str(raised.value)


async def test_what_is_good_no_more_is_looked_for_again_five_seconds_after_the_last_look() -> None:
    find, clock = Finder([stream("/1"), stream("/2")]), Clock()
    pages = PageResolver(find, clock=clock)
    old = await pages.resolve(SITE, "best", timeout=5)
    pages.forget(SITE, "best", old)
    clock.now += 4.9
    assert await pages.resolve(SITE, "best", timeout=5) is old
    clock.now += 0.2
    new = await pages.resolve(SITE, "best", timeout=5)
    assert new.url == "http://cdn.example/2"

    pages.forget(SITE, "best", old)
    clock.now += 100
    assert await pages.resolve(SITE, "best", timeout=5) is new
    assert len(find.looks) == 2


async def test_what_is_remembered_is_bounded() -> None:
    find = Finder()
    pages = PageResolver(find)
    for number in range(257):
        await pages.resolve(Upstream(f"https://site.example/{number}", "film"), "best", timeout=5)
    await pages.resolve(Upstream("https://site.example/1", "film"), "best", timeout=5)
    assert len(find.looks) == 257
    await pages.resolve(Upstream("https://site.example/0", "film"), "best", timeout=5)
    assert len(find.looks) == 258


async def test_a_failure_is_for_all_who_asked_and_for_those_who_ask_within_five_seconds() -> None:
    find, clock = Finder([UpstreamOffline("film", "the web page has no stream at present"), stream()]), Clock()
    find.open.clear()
    pages = PageResolver(find, clock=clock)
    asked = [asyncio.create_task(pages.resolve(SITE, "best", timeout=5)) for _ in range(3)]
    await until(lambda: find.looks)
    find.open.set()
    assert {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)} == {UpstreamOffline}
    clock.now += 4.9
    with pytest.raises(UpstreamOffline):
        await pages.resolve(SITE, "best", timeout=5)
    clock.now += 0.2
    assert (await pages.resolve(SITE, "best", timeout=5)).url == "http://cdn.example/1"
    assert len(find.looks) == 2


@pytest.mark.parametrize("error", [KeyError(SECRET), SystemExit(SECRET), RecursionError(SECRET)])
async def test_what_a_plugin_does_wrong_is_told_without_its_words(error: Exception) -> None:
    pages = PageResolver(Finder([error]) if isinstance(error, Exception) else _exits)
    with pytest.raises(UpstreamBroken, match=type(error).__name__) as raised:
        await pages.resolve(SITE, "best", timeout=5)
    assert SECRET not in str(raised.value)


def _exits(upstream: Upstream, quality: str, timeout: float) -> ResolvedStream:
    sys.exit(SECRET)


async def test_a_few_pages_are_looked_at_at_once_and_the_others_after_them() -> None:
    find = Finder()
    find.open.clear()
    pages = PageResolver(find)
    upstreams = [Upstream(f"https://site.example/{number}", f"film {number}") for number in range(30)]
    asked = [asyncio.create_task(pages.resolve(upstream, "best", timeout=5)) for upstream in upstreams]
    await until(lambda: len(find.looks) == 4)
    find.open.set()
    await asyncio.gather(*asked)
    assert sorted(find.looks) == sorted((upstream.label, "best") for upstream in upstreams)
    assert find.most <= 4


async def test_a_plugin_that_hangs_is_not_waited_for_nor_begun_again() -> None:
    find = Finder()
    find.open.clear()
    pages = PageResolver(find)
    for _ in range(2):
        with pytest.raises(UpstreamStalled, match=r"not found within 0\.03 s"):
            await pages.resolve(SITE, "best", timeout=0.01)
    assert len(find.looks) == 1
    find.open.set()
    assert (await pages.resolve(SITE, "best", timeout=5)).url == "http://cdn.example/1"
    assert len(find.looks) == 1


HANGS = """
import asyncio, threading
from streamproxy.errors import UpstreamStalled
from streamproxy.model import Upstream
from streamproxy.sources.pages import PageResolver

def hang(upstream, quality, timeout):
    threading.Event().wait()

async def main():
    try:
        await PageResolver(hang).resolve(Upstream("https://site.example", "film"), "best", timeout=0.01)
    except UpstreamStalled as error:
        print(error)

asyncio.run(main())
"""


@pytest.mark.parametrize("loop", ["asyncio"])
def test_a_plugin_that_hangs_does_not_keep_the_program_from_ending(loop: str) -> None:
    ended = subprocess.run([sys.executable, "-c", HANGS], capture_output=True, text=True, timeout=10, check=True)
    assert ended.stdout == "film: the stream of the web page was not found within 0.03 s\n"


# What a page leads to, played


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        running.serve("/watch", PAGE)
        for number in range(30):
            running.serve(f"/{number}.ts", segment(number))
        yield running


def names(first: int, count: int) -> list[str]:
    return [f"{number}.ts" for number in range(first, first + count)]


def at(origin: HlsOrigin, path: str, kind: StreamKind = StreamKind.HLS, **headers: str) -> ResolvedStream:
    return ResolvedStream(origin.url(path), headers, kind)


EXPIRED = ["a.ts", "b.ts", "c.ts", "d.ts"]
"""Segments that are refused."""

CONFIG = Config.model_validate({"options": {"timeout": 2}})


@dataclass
class Opener:
    """Makes sources of one page.

    Attributes:
        find: Who looks at it.
        time: When.
    """

    origin: HlsOrigin
    client: Client
    find: Finder
    time: Jumps

    def __post_init__(self) -> None:
        self.pages = PageResolver(self.find, clock=self.time.clock)

    def source(self) -> PageSource:
        """Make another source."""
        kinds: dict[StreamKind, Callable[[Upstream], Source]] = {
            StreamKind.LIVE: partial(HttpSource, client=self.client, relay=CONFIG.relay),
            StreamKind.HLS: partial(
                HlsSource,
                client=self.client,
                options=CONFIG.options,
                relay=CONFIG.relay,
                clock=self.time.clock,
                sleep=self.time.sleep,
            ),
        }
        upstream = Upstream(self.origin.url("/watch"), "film")
        return PageSource(upstream, self.pages, kinds, quality="best", timeout=2)

    async def play(self) -> bytes:
        """Play it to its end."""
        sink = Recorder()
        await self.source().run(sink)
        return sink.data

    async def lose(self) -> tuple[list[int], UpstreamError]:
        """Play it until it is lost; return what came, and why."""
        sink = Recorder()
        with pytest.raises(UpstreamError) as raised:
            await self.source().run(sink)
        return numbers(sink.data), raised.value


@asynccontextmanager
async def page_at(origin: HlsOrigin, *outcomes: ResolvedStream | Exception) -> AsyncIterator[Opener]:
    async with Client(CONFIG.options) as client:
        yield Opener(origin, client, Finder(list(outcomes)), Jumps())


async def test_the_playlist_of_a_page_is_played_with_its_headers_to_its_end(origin: HlsOrigin) -> None:
    origin.serve("/film.m3u8", media(names(0, 5), ended=True))
    async with page_at(origin, at(origin, "/film.m3u8", Referer="https://site.example/")) as page:
        assert numbers(await page.play()) == [0, 1, 2, 3, 4]
    assert {exchange.headers.get("Referer") for exchange in origin.socket.exchanges} == {"https://site.example/"}


async def test_the_plain_stream_of_a_page_is_played(origin: HlsOrigin) -> None:
    origin.serve("/live", packets(0, 500))
    async with page_at(origin, at(origin, "/live", StreamKind.LIVE)) as page:
        assert runs(await page.play()) == [Run(0, 499)]


async def test_a_page_that_leads_to_a_file_is_told(origin: HlsOrigin) -> None:
    origin.serve("/film", b"\0\0\0\x20ftypisom" + bytes(1000))
    async with page_at(origin, at(origin, "/film", StreamKind.LIVE)) as page:
        _, error = await page.lose()
    assert isinstance(error, UpstreamNotMedia)
    assert "not played from pages: the upstream sent an MP4 file" in error.reason
    assert error.kind is None


async def test_a_page_that_leads_to_a_page_is_told(origin: HlsOrigin) -> None:
    async with page_at(origin, at(origin, "/watch")) as page:
        _, error = await page.lose()
    assert isinstance(error, UpstreamNotMedia)
    assert "not played from pages" in error.reason
    assert error.kind is None


async def test_an_address_that_is_none_of_the_web_is_not_opened(origin: HlsOrigin) -> None:
    async with page_at(origin, ResolvedStream("file:///etc/passwd", {}, StreamKind.HLS)) as page:
        _, error = await page.lose()
    assert isinstance(error, UpstreamUnreachable)
    assert error.reason == "the upstream's address is not an http or https URL"


async def test_what_was_lost_after_having_played_is_found_again_by_who_opens_it_next(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media([*names(0, 3), *EXPIRED], ended=True))
    origin.serve("/2.m3u8", media(names(6, 3), first=6, ended=True))
    async with page_at(origin, at(origin, "/1.m3u8"), at(origin, "/2.m3u8")) as page:
        played, error = await page.lose()
        assert (played, type(error), len(page.find.looks)) == ([0, 1, 2], UpstreamRefused, 1)
        page.time.now += 5
        assert numbers(await page.play()) == [6, 7, 8]
    assert len(page.find.looks) == 2


async def test_what_was_lost_soon_after_a_look_is_opened_at_the_same_address(origin: HlsOrigin) -> None:
    origin.serve("/live", packets(0, 500))
    origin.serve("/gone", 404)
    async with page_at(origin, at(origin, "/gone", StreamKind.LIVE)) as page:
        await page.lose()
        page.time.now += 4.9
        await page.lose()
        assert len(page.find.looks) == 1
        page.time.now += 0.2
        await page.lose()
    assert len(page.find.looks) == 2


async def test_an_address_that_was_just_found_and_is_refused_is_not_looked_for_again(origin: HlsOrigin) -> None:
    async with page_at(origin, at(origin, "/gone")) as page:
        _, error = await page.lose()
    assert isinstance(error, UpstreamRefused)
    assert (len(page.find.looks), len(origin.requests("/gone"))) == (1, 1)


async def test_an_address_that_was_remembered_and_is_refused_is_looked_for_again_at_once(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media(names(0, 3), ended=True), 410)
    origin.serve("/2.m3u8", media(names(3, 3), ended=True))
    async with page_at(origin, at(origin, "/1.m3u8"), at(origin, "/2.m3u8")) as page:
        await page.play()
        page.time.now += 100
        assert numbers(await page.play()) == [3, 4, 5]
        assert page.time.now == 100
    assert len(page.find.looks) == 2


async def test_it_is_looked_for_again_once_and_no_more(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media(names(0, 3), ended=True), 410)
    async with page_at(origin, at(origin, "/1.m3u8"), at(origin, "/gone"), at(origin, "/gone")) as page:
        await page.play()
        page.time.now += 100
        await page.lose()
    assert (len(page.find.looks), len(origin.requests("/gone"))) == (2, 1)


async def test_what_was_remembered_and_is_lost_after_having_played_is_not_begun_anew(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media(names(0, 3), ended=True), media([*names(3, 3), *EXPIRED], ended=True))
    async with page_at(origin, at(origin, "/1.m3u8")) as page:
        await page.play()
        page.time.now += 100
        played, error = await page.lose()
    assert (played, type(error), len(page.find.looks)) == ([3, 4, 5], UpstreamRefused, 1)


class Piece:
    """A source that writes one thing, and ends."""

    def __init__(self, data: bytes, form: StreamFormat) -> None:
        self.format = form
        self._data = data

    async def run(self, sink: Any) -> None:
        sink.write(self._data)
        await sink.drain()


class Heeding(Piece):
    """A source that writes once more when there is room, of another timeline."""

    async def run(self, sink: Any) -> None:
        sink.write(b"full" if sink.full else b"not full")
        await sink.drain()
        sink.splice(torn=True)
        sink.write(self._data)


def page_of(piece: Piece) -> PageSource:
    def opened(place: Upstream) -> Source:
        return piece

    return PageSource(SITE, PageResolver(Finder()), {StreamKind.HLS: opened}, quality="best", timeout=5)


class Splicer(Recorder):
    """A sink that puts timelines together."""

    def splice(self, *, torn: bool) -> None:
        self.chunks.append(b"torn" if torn else b"whole")


@pytest.mark.parametrize("kind", [Recorder, Splicer])
async def test_the_stream_of_a_page_heeds_who_takes_it(kind: type[Recorder]) -> None:
    sink = kind()
    sink.may_go_on.clear()
    task = asyncio.create_task(page_of(Heeding(b"more", StreamFormat("video/mp2t"))).run(sink))
    await sink.holds(1)
    assert sink.chunks == [b"full"]
    sink.may_go_on.set()
    await task
    assert [chunk for chunk in sink.chunks if chunk != b"torn"] == [b"full", b"more"]
    assert (b"torn" in sink.chunks) == (kind is Splicer)


async def test_the_format_is_that_of_what_the_page_leads_to() -> None:
    form = StreamFormat("video/mp4", b"header")
    source = page_of(Piece(b"one", form))
    await source.run(Recorder())
    assert source.format is form


# From a channel to its stream


async def play_channel(
    origin: HlsOrigin, kind: StreamKind | None, path: str = "/watch", *outcomes: ResolvedStream | Exception
) -> tuple[bytes, Finder]:
    find = Finder(list(outcomes) or [at(origin, "/film.m3u8")])
    origin.serve("/film.m3u8", media(names(0, 5), ended=True))
    upstream = Upstream(origin.url(path), "film", kind=kind)
    sink = Recorder()
    async with Client(CONFIG.options) as client:
        channel = Channel("film", "Film", (upstream,), mode=RelayMode.DIRECT)
        source = source_of(channel, upstream, client, CONFIG, PageResolver(find))
        try:
            await source.run(sink)
        except UpstreamError as error:
            raise AssertionError(f"{error.reason}; looks: {len(find.looks)}, {len(sink.data)} bytes") from error
        assert source.format.media_type == "video/mp2t"
    return sink.data, find


@pytest.mark.parametrize("kind", [None, StreamKind.HLS])
async def test_a_channel_that_turns_out_to_be_a_page_is_played(origin: HlsOrigin, kind: StreamKind | None) -> None:
    data, find = await play_channel(origin, kind)
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert find.looks == [("film", "best")]


async def test_a_channel_that_is_said_to_be_a_page_is_not_asked_what_it_is(origin: HlsOrigin) -> None:
    data, find = await play_channel(origin, StreamKind.PAGE)
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert find.looks == [("film", "best")]
    assert not origin.requests("/watch")


async def test_a_playlist_that_is_a_page_later_on_is_lost(origin: HlsOrigin) -> None:
    origin.serve("/live.m3u8", media(names(0, 3)), PAGE)
    time, sink = Jumps(), Recorder()
    async with Client(CONFIG.options) as client:
        upstream = Upstream(origin.url("/live.m3u8"), "film")
        hls = HlsSource(upstream, client, CONFIG.options, CONFIG.relay, clock=time.clock, sleep=time.sleep)
        page = Piece(b"page", StreamFormat("video/mp2t"))
        with pytest.raises(UpstreamError):
            await UnknownSource(hls, {StreamKind.PAGE: page}).run(sink)
    assert numbers(sink.data) == [0, 1, 2]


async def test_a_variant_that_is_a_page_does_not_make_the_channel_one(origin: HlsOrigin) -> None:
    origin.serve("/all.m3u8", "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\n/watch\n")
    with pytest.raises(AssertionError, match="looks: 0"):
        await play_channel(origin, StreamKind.HLS, "/all.m3u8")


async def test_the_plain_stream_of_a_page_has_no_end(origin: HlsOrigin) -> None:
    async def ends(exchange: Any) -> None:
        await exchange.send(b"HTTP/1.1 200 OK\r\n\r\n" + packets(0, 500))

    origin.serve("/live", ends)
    with pytest.raises(AssertionError, match="the upstream ended the stream; looks: 1, 94000 bytes"):
        await play_channel(origin, StreamKind.PAGE, "/watch", at(origin, "/live", StreamKind.LIVE))


async def test_viewers_of_a_page_without_a_stream_are_told_to_come_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = Finder([UpstreamOffline("film", "the web page has no stream at present")])
    monkeypatch.setattr("streamproxy.server.wiring.find_stream", find)
    settings = config(tmp_path, streams={"film": {"url": "http://site.example/watch", "kind": "page"}})
    async with running(settings) as proxy:
        answer = await proxy.get("/film")
    assert (answer.status, answer.body) == (503, b'{"detail": "the web page has no stream at present"}')


async def test_a_channel_that_turns_out_to_be_a_playlist_is_played_without_a_look(origin: HlsOrigin) -> None:
    data, find = await play_channel(origin, None, "/film.m3u8")
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert not find.looks


@pytest.mark.parametrize("kind", [StreamKind.LIVE, StreamKind.FILE])
async def test_a_channel_that_is_said_to_be_something_else_is_never_a_page(origin: HlsOrigin, kind: StreamKind) -> None:
    with pytest.raises(AssertionError, match="a web page or XML, not MPEG-TS; looks: 0"):
        await play_channel(origin, kind)


async def test_what_is_no_page_is_not_looked_at(origin: HlsOrigin) -> None:
    origin.serve("/json", '{"error": "expired"}')
    with pytest.raises(AssertionError, match="sent JSON, not MPEG-TS; looks: 0"):
        await play_channel(origin, None, "/json")


async def test_a_source_that_finds_a_page_gives_way() -> None:
    class Mistaken(Piece):
        async def run(self, sink: Any) -> None:
            raise UpstreamNotMedia("film", "a page", StreamKind.PAGE)

    form, sink = StreamFormat("video/mp4", b"header"), Recorder()
    source = UnknownSource(Mistaken(b"", form), {StreamKind.PAGE: Piece(b"one", form)})
    await source.run(sink)
    assert (sink.chunks, source.format) == ([b"one"], form)
