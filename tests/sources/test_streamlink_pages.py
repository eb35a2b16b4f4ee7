"""What streamlink finds on pages: a fake of it, or streamlink itself where it is installed."""

import logging
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.config import Config
from streamproxy.errors import UpstreamBroken, UpstreamNotMedia, UpstreamOffline, UpstreamRefused
from streamproxy.model import Channel, RelayMode, StreamKind, Upstream
from streamproxy.sources import source_of
from streamproxy.sources.client import Client
from streamproxy.sources.pages import PageResolver
from streamproxy.sources.streamlink_pages import find_stream, preferred
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.hls_origin import Answer, HlsOrigin, Recorder, hls_origin, media, numbers, segment
from tests.helpers.origin import Exchange
from tests.helpers.pages import answer

PAGE = "<!DOCTYPE html><html><title>A film</title></html>"
SECRET = "s3cr3t-t0ken"
"""A canary: it stands in addresses and headers, and must not show."""

SITE = Upstream(f"https://site.example/watch?v={SECRET}", "film")
CONFIG = Config.model_validate({"options": {"timeout": 2}})


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
    with pytest.raises(UpstreamOffline, match="the web page has no stream at present"):
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


# With streamlink itself


@pytest.fixture
async def origin() -> AsyncIterator[HlsOrigin]:
    async with hls_origin() as running:
        running.serve("/watch", PAGE)
        for number in range(30):
            running.serve(f"/{number}.ts", segment(number))
        yield running


def names(first: int, count: int) -> list[str]:
    return [f"{number}.ts" for number in range(first, first + count)]


PLUGIN = """
import re
from streamlink.plugin import Plugin, pluginmatcher
from streamlink.stream.hls import HLSStream

@pluginmatcher(re.compile(r"http://127\\.0\\.0\\.1:\\d+/watch$"))
class Local(Plugin):
    def _get_streams(self):
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


def said_to_close(body: str) -> Answer:
    """Answer, and say that the connection closes, without which streamlink would use it once more."""

    async def send(exchange: Exchange) -> None:
        await exchange.send(answer(body))

    return send


async def play_with_streamlink(origin: HlsOrigin, path: str = "/watch", quality: str = "best") -> bytes:
    upstream, sink = Upstream(origin.url(path), "film"), Recorder()
    async with Client(CONFIG.options) as client:
        channel = Channel("film", "Film", (upstream,), quality=quality, mode=RelayMode.DIRECT)
        await source_of(channel, upstream, client, CONFIG, PageResolver(find_stream)).run(sink)
    return sink.data


@pytest.mark.usefixtures("local_plugin")
@pytest.mark.parametrize(("quality", "expected"), [("best", [10, 11, 12]), ("480p", [0, 1, 2])])
async def test_streamlink_finds_the_stream_of_a_page(origin: HlsOrigin, quality: str, expected: list[int]) -> None:
    page = f'<!doctype html><body data-playlist="{origin.url("/all.m3u8")}">'
    origin.serve("/watch", page, said_to_close(page))
    origin.serve("/all.m3u8", said_to_close(VARIANTS))
    origin.serve("/low.m3u8", media(names(0, 3), ended=True))
    origin.serve("/high.m3u8", media(names(10, 3), ended=True))
    assert numbers(await play_with_streamlink(origin, quality=quality)) == expected
    (request,) = origin.requests("/10.ts" if quality == "best" else "/0.ts")
    sent = {name: request.headers.get(name) for name in ("Referer", "X-From")}
    assert sent == {"Referer": origin.url("/watch"), "X-From": "plugin"}
    assert request.headers["User-Agent"].startswith("Mozilla/")


@pytest.mark.usefixtures("local_plugin")
async def test_streamlink_finds_nothing_on_a_page_without_a_stream(origin: HlsOrigin) -> None:
    with pytest.raises(UpstreamOffline, match="no stream at present"):
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
