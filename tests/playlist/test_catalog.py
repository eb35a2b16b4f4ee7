"""The catalog: streams and lists merged in order, and written for viewers."""

from typing import Any

import pytest

from streamproxy.config import Config, PlaylistConfig
from streamproxy.formats import m3u
from streamproxy.model import RelayMode, StreamKind
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


def test_a_stream_has_its_backups_in_order_under_names_of_their_own() -> None:
    made = catalog(
        streams={
            "news": {
                "url": "http://h/1.ts",
                "account": "provider",
                "user_agent": "UA",
                "headers": {"X-One": "1", "Referer": "r"},
                "failover_urls": ["hls://http://d/4"],
                "failover": ["http://b/2.m3u8", {"url": "http://c/3", "account": "other", "headers": {"x-one": "3"}}],
            }
        }
    )

    upstreams = made.channels["news"].upstreams
    assert [(each.url, each.label, each.account, each.kind) for each in upstreams] == [
        ("http://h/1.ts", "news", "provider", StreamKind.LIVE),
        ("http://b/2.m3u8", "news (2)", "", StreamKind.HLS),
        ("http://c/3", "news (3)", "other", None),
        ("http://d/4", "news (4)", "", StreamKind.HLS),
    ]
    assert upstreams[1].headers == {"X-One": "1", "Referer": "r", "User-Agent": "UA"}
    assert upstreams[2].headers == {"x-one": "3", "Referer": "r", "User-Agent": "UA"}


def test_a_backup_may_be_the_demo_channel_or_say_what_it_is() -> None:
    backups = ["demo:", {"url": "http://h/2.ts", "kind": "hls"}]

    channel = catalog(streams={"a": {"url": "hls://h/1", "failover": backups}}).channels["a"]

    assert [each.kind for each in channel.upstreams] == [StreamKind.HLS, StreamKind.LIVE, StreamKind.HLS]
    assert channel.kind is StreamKind.HLS


@pytest.mark.parametrize("own", [None, True, False])
@pytest.mark.parametrize("for_all", [True, False])
def test_what_is_set_for_a_stream_or_a_list_wins_over_what_is_set_for_all(own: bool | None, for_all: bool) -> None:
    wanted = for_all if own is None else own
    switches = {"strict_live_ts": own, "use_sticky_session": own}

    made = catalog(
        loaded("#EXTM3U\n#EXTINF:-1,A\nhttp://h/1.ts\n", **switches),
        streams={"a": {"url": "http://h/", **switches}},
        strict_live_ts=str(for_all).lower(),
        options={"use_sticky_session": for_all},
    )

    assert [(each.strict, each.sticky) for each in made.channels.values()] == [(wanted, wanted)] * 2


def test_the_resolver_of_a_stream_wins_over_the_one_for_all_and_is_a_secret() -> None:
    made = catalog(
        loaded("#EXTM3U\n#EXTINF:-1,A\nhttp://h/1.ts\n"),
        streams={"a": {"url": "http://h/", "failover_resolver_url": "http://own/s3cr3t"}, "b": "http://h/"},
        failover={"resolver_url": "http://all/s3cr3t"},
    )

    resolvers = [each.resolver_url for each in made.channels.values()]
    assert resolvers == ["http://own/s3cr3t", "http://all/s3cr3t", "http://all/s3cr3t"]
    assert "s3cr3t" not in repr(made.channels)


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
