"""The catalog: streams and lists merged in order, and written for viewers."""

from typing import Any

from streamproxy.config import Config, PlaylistConfig
from streamproxy.formats import m3u
from streamproxy.model import RelayMode
from streamproxy.playlist.catalog import Catalog, build
from streamproxy.playlist.loader import LoadedList, read

BASE = "http://proxy:8080"


def loaded(text: str, **values: Any) -> LoadedList:
    settings = PlaylistConfig.model_validate({"url": "http://h/list.m3u", "name": "provider", **values})
    return read(settings, text.encode())


def catalog(*lists: LoadedList, **config: Any) -> Catalog:
    return build(Config.model_validate(config), lists)[0]


def test_streams_come_first_then_the_lists_in_order() -> None:
    one = loaded("#EXTM3U\n#EXTINF:-1,A\nhttp://h/1.ts\n#EXTINF:-1,B\nhttp://h/2.ts\n")
    two = loaded("#EXTM3U\n#EXTINF:-1,C\nhttp://h/3.ts\n", name="other")

    made = catalog(one, two, streams={"mine": "http://h/0.ts"})

    assert [channel.name for channel in made.channels.values()] == ["mine", "A", "B", "C"]
    assert len(made) == 4


def test_every_url_in_the_list_points_to_the_proxy() -> None:
    made = catalog(loaded("#EXTM3U\n#EXTINF:-1,A\nhttp://user:pw@h/1.ts?token=x\n"), streams={"m": "http://h/0.ts"})

    text = made.render(BASE).decode()

    (channel_id,) = (name for name in made.channels if name != "m")
    assert text.splitlines()[2::2] == [f"{BASE}/stream/m.ts", f"{BASE}/stream/{channel_id}.ts"]
    assert "http://h" not in text
    assert "token" not in text


def test_everything_but_the_urls_survives() -> None:
    text = (
        '#EXTM3U x-tvg-url="http://epg/1.xml" catchup="append" unknown="1"\n'
        '#EXTINF:-1 tvg-id="a" foo=bar tvg-logo="http://l/a.png" group-title="G;H",Ärger, "quoted" | title\n'
        "#EXTVLCOPT:network-caching=1000\n"
        "#EXTVLCOPT:http-user-agent=Secret/1.0\n"
        "#KODIPROP:inputstream=inputstream.ffmpegdirect\n"
        "http://h/1.ts\n"
    )

    made = catalog(loaded(text))

    (channel_id,) = made.channels
    wanted = text.replace("#EXTVLCOPT:http-user-agent=Secret/1.0\n", "").replace(
        "http://h/1.ts", f"{BASE}/stream/{channel_id}.ts"
    )
    assert made.render(BASE).decode() == wanted


def test_http_options_of_the_list_go_to_the_upstream() -> None:
    text = "#EXTM3U\n#EXTINF:-1,A\n#EXTVLCOPT:http-user-agent=Entry/1\nhttp://h/1.ts|Referer=http%3A%2F%2Fr%2F\n"

    made = catalog(loaded(text, user_agent="List/1", headers={"X-One": "1"}))

    (channel,) = made.channels.values()
    (upstream,) = channel.upstreams
    assert upstream.url == "http://h/1.ts"
    assert upstream.headers == {"X-One": "1", "User-Agent": "Entry/1", "Referer": "http://r/"}


def test_a_group_can_be_asked_for_alone() -> None:
    made = catalog(
        loaded('#EXTM3U\n#EXTINF:-1 group-title="News;UK",A\nhttp://h/1.ts\n#EXTINF:-1,B\nhttp://h/2.ts\n'),
        streams={"mine": {"url": "http://h/0.ts", "group": "News"}},
    )

    assert [entry.title for entry in m3u.parse(made.render(BASE, "News").decode()).entries] == ["mine", "A"]
    assert made.render(BASE, "Nothing") == b"#EXTM3U\n"


def test_a_stream_is_listed_with_what_the_configuration_says_of_it() -> None:
    made = catalog(
        streams={"bbc one": {"url": "http://h/1.ts", "title": 'BBC "One"', "logo": "http://l/1.png", "group": "UK"}}
    )

    assert made.render(BASE).decode() == (
        "#EXTM3U\n"
        '#EXTINF:-1 tvg-id="bbc one" tvg-name="BBC \'One\'" tvg-logo="http://l/1.png" group-title="UK",BBC "One"\n'
        f"{BASE}/stream/bbc%20one.ts\n"
    )


def test_a_stream_without_a_url_is_not_listed() -> None:
    assert len(catalog(streams={"later": None})) == 0


def test_a_channel_is_found_with_and_without_its_extension() -> None:
    made = catalog(streams={"a": "http://h/1.ts", "b.ts": {"url": "http://h/2.ts", "mode": "direct"}})

    assert made.find("a") is made.find("a.ts") is made.channels["a"]
    assert made.find("b.ts") is made.find("b.ts.ts") is made.channels["b.ts"]
    assert made.channels["b.ts"].mode is RelayMode.DIRECT
    assert made.find("b") is None


def test_streampipes_prefixes_are_cut_off() -> None:
    made = catalog(streams={"a": "hls://https://h/x.m3u8", "b": "httpstream://http://h/y.ts"})

    assert [channel.upstreams[0].url for channel in made.channels.values()] == ["https://h/x.m3u8", "http://h/y.ts"]


def test_the_version_changes_with_the_list_and_only_then() -> None:
    text = "#EXTM3U\n#EXTINF:-1,A\nhttp://h/1.ts\n"

    assert catalog(loaded(text)).version == catalog(loaded(text.replace("/1.ts", "/2.ts"))).version
    assert catalog(loaded(text)).version != catalog(loaded(text.replace(",A", ",B"))).version


def test_what_is_left_out_is_counted_by_reason() -> None:
    _, left_out = build(Config(), [loaded("#EXTM3U\n-----\n#EXTINF:-1,A\nhttp://h/1.ts\nfile:///etc/passwd\n")])

    assert sum(left_out.values()) == 2


def test_credentials_in_attributes_do_not_reach_viewers() -> None:
    text = (
        '#EXTM3U url-tvg="http://h/xmltv.php?username=someuser&password=hunter22"\n'
        '#EXTINF:-1 tvg-id="a" catchup-source="http://h/timeshift/someuser/hunter22/{duration}/1.ts",A\n'
        "http://h/live/someuser/hunter22/1.ts\n"
    )

    shown = catalog(loaded(text, url="http://h/get.php?username=someuser&password=hunter22")).render(BASE).decode()

    assert "hunter22" not in shown
    assert 'tvg-id="a"' in shown
