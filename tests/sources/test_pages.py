"""Pages whose streams are found by a fake of streamlink, or by streamlink itself where it is installed."""

import asyncio
import logging
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.config import Config
from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamNotMedia,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamUnreachable,
)
from streamproxy.model import Channel, Source, StreamFormat, StreamKind, Upstream
from streamproxy.sources import UnknownSource, source_of
from streamproxy.sources.client import Client
from streamproxy.sources.pages import PageResolver, PageSource, ResolvedStream, find_stream, preferred
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import HlsOrigin, Jumps, Recorder, hls_origin, media, numbers, segment
from tests.helpers.pages import Clock
from tests.helpers.stream import Run, packets, runs

PAGE = "<!DOCTYPE html><html><title>A film</title></html>"
SECRET = "s3cr3t-t0ken"
"""A canary: it stands in addresses and headers, and must not show."""

SITE = Upstream(f"https://site.example/watch?v={SECRET}", "film")


def stream(path: str = "/1", kind: StreamKind = StreamKind.HLS, **headers: str) -> ResolvedStream:
    return ResolvedStream(f"http://cdn.example{path}", headers, kind)


# Which stream of several


@pytest.mark.parametrize(
    ("names", "quality", "expected"),
    [
        ("360p 720p 1080p worst best", "best", "best 1080p 720p 360p worst"),
        ("audio 360p 720p worst best", "worst", "worst audio 360p 720p best"),
        ("360p 720p 720p60 1080p worst best", "720p", "720p 720p60 360p 1080p best worst"),
        ("360p 720p60 1080p", "720P", "720p60 360p 1080p"),
        ("720p 1080p", "480p", "720p 1080p"),
        ("live worst best", "480p", "best live worst"),
        ("360p 720p worst", "best", "720p 360p worst"),
        ("360p 720p best", "worst", "360p 720p best"),
        ("500k 2500k 3500k best", "3000k", "2500k 500k 3500k best"),
        ("500k 2500k 3500k", "2.5m", "2500k 500k 3500k"),
        ("500k 2500k 3500k", "499999", "500k 2500k 3500k"),
        ("720p_1500k 720p_3000k 1080p60_6000k", "4000k", "720p_3000k 720p_1500k 1080p60_6000k"),
        ("", "best", ""),
    ],
)
def test_names_of_streams_are_ordered_by_quality(names: str, quality: str, expected: str) -> None:
    assert preferred(names.split(), quality) == expected.split()


@given(st.lists(st.text(max_size=8), unique=True), st.sampled_from(["best", "worst", "720p", "3m", "x"]))
def test_no_name_is_left_out_or_taken_twice(names: list[str], quality: str) -> None:
    assert sorted(preferred(names, quality)) == sorted(names)


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


async def test_what_is_good_no_more_is_looked_for_again_once() -> None:
    find = Finder([stream("/1"), stream("/2")])
    pages = PageResolver(find)
    old = await pages.resolve(SITE, "best", timeout=5)
    assert (await pages.resolve(SITE, "best", timeout=5, refused=old)).url == "http://cdn.example/2"
    assert (await pages.resolve(SITE, "best", timeout=5, refused=old)).url == "http://cdn.example/2"
    assert (await pages.resolve(SITE, "best", timeout=5)).url == "http://cdn.example/2"
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


async def test_a_failure_is_for_all_who_asked_and_is_not_remembered() -> None:
    find = Finder([UpstreamNotMedia("film", "the web page has no stream at present"), stream()])
    find.open.clear()
    pages = PageResolver(find)
    asked = [asyncio.create_task(pages.resolve(SITE, "best", timeout=5)) for _ in range(3)]
    await until(lambda: find.looks)
    find.open.set()
    assert {type(each) for each in await asyncio.gather(*asked, return_exceptions=True)} == {UpstreamNotMedia}
    assert (await pages.resolve(SITE, "best", timeout=5)).url == "http://cdn.example/1"


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


# What streamlink finds


class PluginError(Exception):
    """As streamlink's; what caused it is in an attribute."""

    def __init__(self, text: str, cause: Exception | None = None) -> None:
        super().__init__(text)
        self.err = cause


@dataclass
class HTTPStream:
    """A stream that is one address."""

    url: str
    args: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def shortname(cls) -> str:
        return cls.__name__.removesuffix("Stream").lower()

    def to_manifest_url(self) -> str:
        raise TypeError(self.url)


@dataclass
class HLSStream(HTTPStream):
    master: str = ""

    def to_manifest_url(self) -> str:
        return self.master or super().to_manifest_url()


class SiteHLSStream(HLSStream):
    """As the plugins of some sites have their own."""


class DASHStream:
    """A stream that is no address."""

    @classmethod
    def shortname(cls) -> str:
        return "dash"


class MuxedHLSStream:
    """Pictures and sound apart."""

    def __init__(self, *substreams: HLSStream) -> None:
        self.substreams = substreams

    @classmethod
    def shortname(cls) -> str:
        return "hls-multi"


class Streamlink:
    """As much of a session as is used."""

    sites: Mapping[str, Callable[["Streamlink"], Mapping[str, object]]] = {}
    sessions: list["Streamlink"] = []  # noqa: RUF012 - replaced for each test
    saves: list[Callable[[], None]] = []  # noqa: RUF012

    def __init__(self, options: dict[str, Any]) -> None:
        self.options = options
        self.http = self
        self.adapters = {"file://": "reads files", "https://": ""}
        self.headers = {"User-Agent": "Browser/1", "Accept-Encoding": "gzip", **options["http-headers"]}
        self.closed = False
        self.plugins = self
        self.sessions.append(self)

    def close(self) -> None:
        self.closed = True

    def match_url(self, url: str) -> tuple[str, Callable[["Streamlink", str], object]] | None:
        for name, look in self.sites.items():
            cache = SimpleNamespace(_save=lambda: None)
            self.saves.append(cache._save)
            plugin = SimpleNamespace(cache=cache, streams=lambda look=look: look(self))
            return name, lambda session, url, plugin=plugin: plugin
        return None

    def prepare_new_request(self, *, url: str, method: str = "GET", data: object = None, **args: Any) -> object:
        cookies = {"Cookie": "; ".join(f"{name}={value}" for name, value in args.get("cookies", {}).items())}
        headers = {**self.headers, **(cookies if args.get("cookies") else {}), **args.get("headers", {})}
        return SimpleNamespace(url=url, method=method, body=data, headers=headers)


Looks = Callable[..., type[Streamlink]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Looks:
    """Install the fake, with one plugin that finds what the test says."""

    def install(streams: Mapping[str, object] | Exception | None = None, *, plugin: str = "site") -> type[Streamlink]:
        def look(session: Streamlink) -> Mapping[str, object]:
            if isinstance(streams, Exception):
                raise streams
            return streams or {}

        modules: dict[str, dict[str, object]] = {
            "streamlink": {"Streamlink": Streamlink, "PluginError": PluginError},
            "streamlink.stream.hls": {"HLSStream": HLSStream, "MuxedHLSStream": MuxedHLSStream},
            "streamlink.stream.http": {"HTTPStream": HTTPStream},
        }
        for name, contents in modules.items():
            module = ModuleType(name)
            vars(module).update(contents)
            monkeypatch.setitem(sys.modules, name, module)
        monkeypatch.setattr(Streamlink, "sites", {plugin: look} if plugin else {})
        monkeypatch.setattr(Streamlink, "sessions", [])
        monkeypatch.setattr(Streamlink, "saves", [])
        return Streamlink

    return install


def test_without_the_extra_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "streamlink", None)
    with pytest.raises(UpstreamNotMedia, match=r"needs the extra: pip install 'streamproxy\[streamlink\]'") as raised:
        find_stream(SITE, "best", 5)
    assert raised.value.kind is None


@pytest.mark.parametrize("plugin", ["", "hls", "dash", "http"])
def test_a_page_of_no_site_is_told(site: Looks, plugin: str) -> None:
    site({"best": HLSStream("http://cdn.example/1")}, plugin=plugin)
    with pytest.raises(UpstreamNotMedia, match="a web page that streamlink has no plugin for"):
        find_stream(SITE, "best", 5)


def test_a_page_without_a_stream_is_told(site: Looks) -> None:
    site({})
    with pytest.raises(UpstreamNotMedia, match="the web page has no stream at present"):
        find_stream(SITE, "best", 5)


def test_a_page_that_is_refused_is_told_by_its_status(site: Looks) -> None:
    cause = OSError(SECRET)
    vars(cause)["response"] = SimpleNamespace(status_code=404)
    site(PluginError(f"Unable to open {SECRET}", PluginError(SECRET, cause)))
    with pytest.raises(UpstreamRefused) as raised:
        find_stream(SITE, "best", 5)
    assert raised.value.status == 404


def failing(cause: Exception, *, named: bool) -> PluginError:
    """Make the error that comes of another, which it has as streamlink's own requests or as Python has it."""
    error = PluginError(f"Unable to open {SECRET}", cause if named else None)
    error.__cause__ = None if named else cause
    return error


@pytest.mark.parametrize(
    ("error", "name"),
    [
        (PluginError(SECRET), "PluginError"),
        (failing(ConnectionError(SECRET), named=True), "ConnectionError"),
        (failing(ValueError(SECRET), named=False), "ValueError"),
    ],
)
def test_a_page_that_cannot_be_read_is_told_without_its_address(site: Looks, error: Exception, name: str) -> None:
    site(error)
    with pytest.raises(UpstreamBroken, match=f"cannot read the web page: {name}") as raised:
        find_stream(SITE, "best", 5)
    assert SECRET not in str(raised.value)


@pytest.mark.parametrize("kind", [HLSStream, SiteHLSStream])
@pytest.mark.parametrize("master", ["", "http://cdn.example/all"])
def test_of_a_playlist_the_one_of_all_variants_is_taken_where_there_is_one(
    site: Looks, kind: type[HLSStream], master: str
) -> None:
    site({"best": kind("http://cdn.example/1080p", master=master)})
    found = find_stream(SITE, "best", 5)
    assert (found.url, found.kind) == (master or "http://cdn.example/1080p", StreamKind.HLS)


def test_the_quality_chooses_the_stream(site: Looks) -> None:
    streams = {name: HLSStream(f"http://cdn.example/{name}") for name in ("360p", "720p60", "1080p")}
    site(streams | {"worst": streams["360p"], "best": streams["1080p"]})
    found = {quality: find_stream(SITE, quality, 5).url for quality in ("best", "worst", "720p")}
    assert found == {
        "best": "http://cdn.example/1080p",
        "worst": "http://cdn.example/360p",
        "720p": "http://cdn.example/720p60",
    }


def test_a_playlist_is_taken_before_a_file_of_more_quality(site: Looks) -> None:
    site({"720p": HLSStream("http://cdn.example/hls"), "1080p": HTTPStream("http://cdn.example/film.mp4")})
    assert find_stream(SITE, "best", 5).url == "http://cdn.example/hls"


def test_a_stream_without_a_playlist_is_one_too(site: Looks) -> None:
    site({"best": DASHStream(), "live": HTTPStream("http://cdn.example/live")})
    found = find_stream(SITE, "best", 5)
    assert (found.url, found.kind) == ("http://cdn.example/live", StreamKind.LIVE)


def test_where_sound_comes_apart_the_playlist_of_all_variants_may_have_one_that_is_whole(site: Looks) -> None:
    parts = [HLSStream(f"http://cdn.example/{name}", master="http://cdn.example/all") for name in ("video", "audio")]
    site({"best": MuxedHLSStream(*parts)})
    assert find_stream(SITE, "best", 5).url == "http://cdn.example/all"


@pytest.mark.parametrize(
    ("streams", "kinds"),
    [
        ({"720p": DASHStream(), "best": DASHStream()}, "dash"),
        ({"best": MuxedHLSStream(HLSStream("http://cdn.example/video"))}, "hls-multi"),
        ({"best": HTTPStream("http://cdn.example/1", {"method": "POST"})}, "http"),
        ({"best": HTTPStream("http://cdn.example/1", {"data": b"x"})}, "http"),
        ({"best": HTTPStream(f"file:///etc/{SECRET}")}, "http"),
        ({"best": HLSStream(f"rtmp://cdn.example/{SECRET}")}, "hls"),
    ],
)
def test_streams_that_cannot_be_played_are_refused(site: Looks, streams: Mapping[str, object], kinds: str) -> None:
    site(streams)
    with pytest.raises(UpstreamNotMedia, match=f"none that can be played: {kinds}$") as raised:
        find_stream(SITE, "best", 5)
    assert SECRET not in str(raised.value)


def test_what_cannot_be_played_leaves_the_next_best(site: Looks) -> None:
    site({"720p": HLSStream("http://cdn.example/720p"), "1080p": HLSStream("file:///1080p")})
    assert find_stream(SITE, "best", 5).url == "http://cdn.example/720p"


def test_a_stream_is_asked_for_as_the_plugin_says(site: Looks) -> None:
    args = {
        "headers": {"Referer": "https://site.example/", "X-Odd": "a\r\nb", "Range": "bytes=0-"},
        "cookies": {"a": "b"},
    }
    site({"best": HLSStream("http://cdn.example/1", args)})
    found = find_stream(SITE, "best", 5)
    assert found.headers == {"User-Agent": "Browser/1", "Referer": "https://site.example/", "Cookie": "a=b"}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("cdn.example", {"User-Agent": "Own/1"}),
        ("site.example", {"User-Agent": "Own/1", "Cookie": SECRET, "authorization": f"Bearer {SECRET}"}),
    ],
)
def test_the_headers_of_a_channel_are_for_its_site_and_those_with_credentials_for_it_alone(
    site: Looks, host: str, expected: dict[str, str]
) -> None:
    session = site({"best": HLSStream(f"http://{host}/1")})
    headers = {"User-Agent": "Own/1", "Cookie": SECRET, "authorization": f"Bearer {SECRET}", "Host": "x"}
    found = find_stream(Upstream(SITE.url, "film", headers), "best", 5)
    assert found.headers == expected
    assert session.sessions[0].options["http-headers"] == {name: headers[name] for name in headers if name != "Host"}


def test_nothing_of_a_look_is_left_behind(site: Looks, monkeypatch: pytest.MonkeyPatch) -> None:
    forgotten: list[object] = []
    monkeypatch.setattr("atexit.unregister", forgotten.append)
    session = site({"best": HLSStream("http://cdn.example/1")})
    find_stream(SITE, "best", 5)
    site_of = session.sessions[0]
    assert site_of.closed
    assert forgotten == session.saves
    assert "file://" not in site_of.adapters
    assert {
        name: site_of.options[name] for name in ("http-timeout", "http-trust-env", "no-plugin-cache", "webbrowser")
    } == {
        "http-timeout": 5,
        "http-trust-env": False,
        "no-plugin-cache": True,
        "webbrowser": False,
    }


def test_streamlink_says_nothing_itself(site: Looks) -> None:
    site({"best": HLSStream("http://cdn.example/1")})
    find_stream(SITE, "best", 5)
    assert not logging.getLogger("streamlink.plugins.site").isEnabledFor(logging.CRITICAL)


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


CONFIG = Config.model_validate({"options": {"timeout": 2}})


@asynccontextmanager
async def source_at(
    origin: HlsOrigin, *outcomes: ResolvedStream | Exception, time: Jumps | None = None
) -> AsyncIterator[tuple[PageSource, Finder]]:
    time = time or Jumps()
    find = Finder(list(outcomes))
    async with Client(CONFIG.options) as client:
        pages = PageResolver(find, clock=time.clock)
        upstream = Upstream(origin.url("/watch"), "film")
        yield PageSource(upstream, client, CONFIG, pages, clock=time.clock, sleep=time.sleep), find


async def test_the_playlist_of_a_page_is_played_with_its_headers(origin: HlsOrigin) -> None:
    origin.serve("/film.m3u8", media(names(0, 5), ended=True))
    sink = Recorder()
    async with source_at(origin, at(origin, "/film.m3u8", Referer="https://site.example/")) as (source, _):
        await source.run(sink)
    assert numbers(sink.data) == [0, 1, 2, 3, 4]
    assert {exchange.headers.get("Referer") for exchange in origin.socket.exchanges} == {"https://site.example/"}


async def test_the_plain_stream_of_a_page_is_played(origin: HlsOrigin) -> None:
    origin.serve("/live", packets(0, 500))
    sink = Recorder()
    async with source_at(origin, at(origin, "/live", StreamKind.LIVE)) as (source, _):
        await source.run(sink)
    assert runs(sink.data) == [Run(0, 499)]


async def test_a_page_that_leads_to_a_file_is_told(origin: HlsOrigin) -> None:
    origin.serve("/film", b"\0\0\0\x20ftypisom" + bytes(1000))
    async with source_at(origin, at(origin, "/film", StreamKind.LIVE)) as (source, _):
        with pytest.raises(UpstreamNotMedia, match="not played from pages: the upstream sent an MP4 file") as raised:
            await source.run(Recorder())
    assert raised.value.kind is None


async def test_an_address_that_is_none_of_the_web_is_not_opened(origin: HlsOrigin) -> None:
    async with source_at(origin, ResolvedStream("file:///etc/passwd", {}, StreamKind.HLS)) as (source, _):
        with pytest.raises(UpstreamUnreachable, match="not an http or https URL"):
            await source.run(Recorder())


async def test_a_live_stream_that_is_lost_is_found_again_and_goes_on(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media(names(0, 3)), 403)
    origin.serve(
        "/2.m3u8", media(names(6, 3), first=6), media(names(6, 3), first=6), media(names(6, 4), first=6, ended=True)
    )
    sink = Recorder()
    async with source_at(origin, at(origin, "/1.m3u8"), at(origin, "/2.m3u8")) as (source, find):
        await source.run(sink)
    assert numbers(sink.data) == [0, 1, 2, 6, 7, 8, 9]
    assert len(find.looks) == 2


async def test_what_has_an_end_is_not_begun_anew(origin: HlsOrigin) -> None:
    origin.serve("/film.m3u8", media([*names(0, 5), "a.ts", "b.ts", "c.ts", "d.ts"], ended=True))
    sink = Recorder()
    async with source_at(origin, at(origin, "/film.m3u8")) as (source, find):
        with pytest.raises(UpstreamRefused):
            await source.run(sink)
    assert numbers(sink.data) == [0, 1, 2, 3, 4]
    assert len(find.looks) == 2


async def test_a_stream_is_given_up_when_three_looks_brought_nothing_none_of_them_soon_after_another(
    origin: HlsOrigin,
) -> None:
    origin.serve("/1.m3u8", media(names(0, 3)), 404)
    time, sink = Jumps(), Recorder()
    looked_at: list[float] = []
    async with source_at(origin, at(origin, "/1.m3u8"), time=time) as (source, find):
        pages = source._pages

        class Noting(PageResolver):
            async def resolve(self, *args: Any, **more: Any) -> ResolvedStream:
                looked_at.append(time.now)
                return await pages.resolve(*args, **more)

        source._pages = Noting()
        with pytest.raises(UpstreamRefused):
            await source.run(sink)
    assert numbers(sink.data) == [0, 1, 2]
    assert len(find.looks) == len(looked_at) == 4
    assert all(later - earlier >= 5 for earlier, later in pairwise(looked_at))


async def test_each_time_something_comes_there_are_three_looks_again(origin: HlsOrigin) -> None:
    origin.serve("/a.m3u8", media(names(0, 3)), 404)
    origin.serve("/b.m3u8", media(names(3, 3), first=3), media(names(3, 3), first=3), 404)
    origin.serve("/c.m3u8", media(names(6, 3), first=6), media(names(6, 3), first=6, ended=False), 404)
    gone = at(origin, "/gone")
    away = UpstreamNotMedia("film", "the web page has no stream at present")
    outcomes: list[ResolvedStream | Exception] = [
        at(origin, "/a.m3u8"),
        gone,
        away,
        at(origin, "/b.m3u8"),
        away,
        gone,
        at(origin, "/c.m3u8"),
        gone,
        gone,
        away,
    ]
    sink = Recorder()
    async with source_at(origin, *outcomes) as (source, find):
        with pytest.raises(UpstreamNotMedia, match="no stream at present"):
            await source.run(sink)
    assert numbers(sink.data) == list(range(9))
    assert len(find.looks) == 10


async def test_an_address_that_was_just_found_and_is_refused_is_not_looked_for_again(origin: HlsOrigin) -> None:
    async with source_at(origin, at(origin, "/gone")) as (source, find):
        with pytest.raises(UpstreamRefused):
            await source.run(Recorder())
    assert len(find.looks) == 1
    assert len(origin.requests("/gone")) == 1


async def test_an_address_that_was_remembered_and_is_refused_is_looked_for_again_at_once(origin: HlsOrigin) -> None:
    origin.serve("/1.m3u8", media(names(0, 3), ended=True), 410)
    origin.serve("/2.m3u8", media(names(3, 3), ended=True))
    time = Jumps()
    async with source_at(origin, at(origin, "/1.m3u8"), at(origin, "/2.m3u8"), time=time) as (first, find):
        sink = Recorder()
        await first.run(sink)
        assert numbers(sink.data) == [0, 1, 2]
        time.now += 100
        second, sink = (
            PageSource(first._upstream, first._client, CONFIG, first._pages, clock=time.clock, sleep=time.sleep),
            Recorder(),
        )
        await second.run(sink)
    assert numbers(sink.data) == [3, 4, 5]
    assert len(find.looks) == 2
    assert time.now == 100


class Piece:
    """A source that writes one thing, and ends as it is told."""

    def __init__(self, data: bytes, form: StreamFormat, error: UpstreamError | None = None) -> None:
        self.format = form
        self._data = data
        self._error = error

    async def run(self, sink: Any) -> None:
        sink.write(self._data)
        await sink.drain()
        if self._error:
            raise self._error


class Pieces(PageSource):
    """Plays pieces in the place of what is found."""

    pieces: list[Source]

    def _source(self, stream: ResolvedStream) -> Source:
        return self.pieces.pop(0)


class Heeding(Piece):
    """A source that writes once more when there is room."""

    async def run(self, sink: Any) -> None:
        sink.write(b"full" if sink.full else b"not full")
        await sink.drain()
        sink.write(self._data)


async def play_pieces(*pieces: Piece) -> tuple[Recorder, StreamFormat]:
    time, sink = Jumps(), Recorder()
    async with Client(CONFIG.options) as client:
        pages = PageResolver(Finder([stream(kind=StreamKind.LIVE)]), clock=time.clock)
        source = Pieces(SITE, client, CONFIG, pages, clock=time.clock, sleep=time.sleep)
        source.pieces = list(pieces)
        await source.run(sink)
    return sink, source.format


LOST = UpstreamBroken("film", "lost")


async def test_the_stream_of_a_page_waits_for_who_takes_it() -> None:
    async with Client(CONFIG.options) as client:
        source = Pieces(SITE, client, CONFIG, PageResolver(Finder()))
        source.pieces = [Heeding(b"more", StreamFormat("video/mp2t"))]
        sink = Recorder()
        sink.may_go_on.clear()
        task = asyncio.create_task(source.run(sink))
        await sink.holds(1)
        assert sink.chunks == [b"full"]
        sink.may_go_on.set()
        await task
    assert sink.chunks == [b"full", b"more"]


async def test_what_goes_on_goes_on_behind_its_header() -> None:
    first, second = StreamFormat("video/mp4", b"header 1"), StreamFormat("video/mp4", b"header 2")
    sink, form = await play_pieces(Piece(b"one", first, LOST), Piece(b"two", second))
    assert sink.chunks == [b"one", b"header 2", b"two"]
    assert form is second


async def test_what_would_go_on_as_something_else_ends() -> None:
    first, second = StreamFormat("video/mp4", b"header"), StreamFormat("video/mp2t")
    with pytest.raises(UpstreamBroken, match="became another kind"):
        await play_pieces(Piece(b"one", first, LOST), Piece(b"two", second))


# From a channel to its stream


async def play_channel(
    origin: HlsOrigin, kind: StreamKind | None, path: str = "/watch", *outcomes: ResolvedStream | Exception
) -> tuple[bytes, Finder]:
    find = Finder(list(outcomes) or [at(origin, "/film.m3u8")])
    origin.serve("/film.m3u8", media(names(0, 5), ended=True))
    upstream = Upstream(origin.url(path), "film", kind=kind)
    sink = Recorder()
    async with Client(CONFIG.options) as client:
        source = source_of(Channel("film", "Film", (upstream,)), client, CONFIG, PageResolver(find))
        try:
            await source.run(sink)
        except UpstreamError as error:
            assert not sink.data
            raise AssertionError(f"{error.reason}; looks: {len(find.looks)}") from error
        assert source.format.media_type == "video/mp2t"
    return sink.data, find


async def test_a_channel_that_turns_out_to_be_a_page_is_played(origin: HlsOrigin) -> None:
    data, find = await play_channel(origin, None)
    assert numbers(data) == [0, 1, 2, 3, 4]
    assert find.looks == [("film", "best")]


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
    source = UnknownSource(Mistaken(b"", StreamFormat("video/mp2t")), {StreamKind.PAGE: Piece(b"one", form)})
    await source.run(sink)
    assert (sink.chunks, source.format) == ([b"one"], form)


# With streamlink itself

PLUGIN = """
import re
from streamlink.plugin import Plugin, pluginmatcher
from streamlink.stream.hls import HLSStream

@pluginmatcher(re.compile(r"http://127\\.0\\.0\\.1:\\d+/watch$"))
class Local(Plugin):
    def _get_streams(self):
        self.session.http.headers["Connection"] = "close"
        page = self.session.http.get(self.url).text
        self.session.http.headers["Referer"] = self.url
        address = re.search(r'data-playlist="([^"]+)"', page)
        return address and HLSStream.parse_variant_playlist(self.session, address[1], headers={"X-From": "plugin"})

__plugin__ = Local
"""


@pytest.fixture
def local_plugin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamlink = pytest.importorskip("streamlink", exc_type=ImportError)
    (tmp_path / "local.py").write_text(PLUGIN)
    make = streamlink.Streamlink

    def with_plugin(options: dict[str, Any]) -> object:
        session = make(options)
        assert session.plugins.load_path(tmp_path)
        return session

    monkeypatch.setattr(streamlink, "Streamlink", with_plugin)


VARIANTS = """#EXTM3U
#EXT-X-STREAM-INF:BANDWIDTH=800000,RESOLUTION=640x360,CODECS="avc1.4d401e,mp4a.40.2"
low.m3u8
#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720,CODECS="avc1.4d401f,mp4a.40.2"
high.m3u8
"""


async def play_with_streamlink(origin: HlsOrigin, path: str = "/watch", quality: str = "best") -> bytes:
    upstream, sink = Upstream(origin.url(path), "film"), Recorder()
    async with Client(CONFIG.options) as client:
        await source_of(Channel("film", "Film", (upstream,), quality=quality), client, CONFIG).run(sink)
    return sink.data


@pytest.mark.usefixtures("local_plugin")
@pytest.mark.parametrize(("quality", "expected"), [("best", [10, 11, 12]), ("480p", [0, 1, 2])])
async def test_streamlink_finds_the_stream_of_a_page(origin: HlsOrigin, quality: str, expected: list[int]) -> None:
    origin.serve("/watch", f'<!doctype html><body data-playlist="{origin.url("/all.m3u8")}">')
    origin.serve("/all.m3u8", VARIANTS)
    origin.serve("/low.m3u8", media(names(0, 3), ended=True))
    origin.serve("/high.m3u8", media(names(10, 3), ended=True))
    assert numbers(await play_with_streamlink(origin, quality=quality)) == expected
    (request,) = origin.requests("/10.ts" if quality == "best" else "/0.ts")
    sent = {name: request.headers.get(name) for name in ("Referer", "X-From")}
    assert sent == {"Referer": origin.url("/watch"), "X-From": "plugin"}
    assert request.headers["User-Agent"].startswith("Mozilla/")


@pytest.mark.usefixtures("local_plugin")
async def test_streamlink_finds_nothing_on_a_page_without_a_stream(origin: HlsOrigin) -> None:
    with pytest.raises(UpstreamNotMedia, match="no stream at present"):
        await play_with_streamlink(origin)


@pytest.mark.usefixtures("local_plugin")
async def test_streamlink_is_refused_a_page_the_second_time(origin: HlsOrigin) -> None:
    origin.serve("/watch", PAGE, 403)
    with pytest.raises(UpstreamRefused, match="403"):
        await play_with_streamlink(origin)


@pytest.mark.usefixtures("local_plugin")
@pytest.mark.parametrize("path", ["/other", "/other.m3u8?x=1", "/other.mpd"])
async def test_streamlink_has_no_plugin_for_a_page_and_does_not_ask_for_it(origin: HlsOrigin, path: str) -> None:
    origin.serve(path, PAGE)
    with pytest.raises(UpstreamNotMedia, match="no plugin for"):
        await play_with_streamlink(origin, path)
    assert len(origin.requests(path)) == 1
