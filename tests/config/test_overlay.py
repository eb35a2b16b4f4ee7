from collections.abc import Callable

import pytest

from streamproxy.config import Config

Read = Callable[..., Config]
Mistakes = Callable[..., list[str]]


@pytest.mark.parametrize(
    ("environ", "port"),
    [
        ({}, 1),
        ({"PORT": "2"}, 2),
        ({"PORT": "2", "M3U_PROXY_PORT": "3"}, 3),
        ({"PORT": "2", "M3U_PROXY_PORT": "3", "STREAMPROXY_SERVER__PORT": "4"}, 4),
        ({"PORT": "2", "M3U_PROXY_PORT": "", "STREAMPROXY_SERVER__PORT": ""}, 2),
        ({"PORT": "wrong", "STREAMPROXY_SERVER__PORT": "4"}, 4),
    ],
)
def test_own_names_win_over_aliases_and_aliases_over_the_file(read: Read, environ: dict[str, str], port: int) -> None:
    assert read("server: {port: 1}", environ).server.port == port


def test_names_of_m3u_proxy_are_understood(read: Read) -> None:
    config = read(
        "",
        {
            "HOST": "127.0.0.1",
            "PORT": "8085",
            "ROOT_PATH": "/m3u-proxy",
            "PUBLIC_URL": "https://tv.example",
            "LOG_LEVEL": "DEBUG",
            "DEFAULT_USER_AGENT": "UA",
            "DEFAULT_CONNECTION_TIMEOUT": "5.5",
            "LIVE_CHUNK_TIMEOUT_SECONDS": "7",
            "CHANGE_BUFFER_CHUNKS": "100",
            "SHARED_STREAM_GRACE": "3",
        },
    )

    assert config.server.model_dump(include={"host", "port", "root_path", "public_url"}) == {
        "host": "127.0.0.1",
        "port": 8085,
        "root_path": "/m3u-proxy",
        "public_url": "https://tv.example",
    }
    assert (config.options.user_agent, config.options.timeout, config.log.level) == ("UA", 5.5, "debug")
    assert (config.relay.stall_timeout, config.relay.queue, config.relay.linger) == (7, 100, 3)


def test_names_of_m3u_proxy_for_continuity_are_understood(read: Read) -> None:
    config = read(
        "",
        {
            "USE_STICKY_SESSION": "True",
            "STREAM_RETRY_ATTEMPTS": "5",
            "STREAM_RETRY_DELAY": "2.5",
            "STREAM_TOTAL_TIMEOUT": "0",
            "STRICT_LIVE_TS": "on",
            "STRICT_LIVE_TS_PREBUFFER_SIZE": "1000",
            "STRICT_LIVE_TS_PREBUFFER_TIMEOUT": "3",
            "STRICT_LIVE_TS_CIRCUIT_BREAKER_TIMEOUT": "4",
            "STRICT_LIVE_TS_CIRCUIT_BREAKER_COOLDOWN": "5",
        },
    )

    assert config.options.use_sticky_session
    assert (config.retry.attempts, config.retry.delay, config.retry.total_timeout) == (5, 2.5, 0)
    assert config.strict_live_ts.model_dump() == {
        "enabled": True,
        "prebuffer_size": 1000,
        "prebuffer_timeout": 3,
        "circuit_breaker_timeout": 4,
        "circuit_breaker_cooldown": 5,
    }


@pytest.mark.parametrize(("written", "factor"), [("true", 1.5), ("YES", 1.5), ("1", 1.5), ("false", 1), ("0", 1)])
def test_exponential_backoff_of_m3u_proxy_is_its_factor(read: Read, written: str, factor: float) -> None:
    assert read("", {"STREAM_RETRY_EXPONENTIAL_BACKOFF": written}).retry.backoff == factor


@pytest.mark.parametrize(
    ("environ", "bits_per_second"),
    [
        ({"ENABLE_BITRATE_MONITORING": "true"}, 500_000),
        ({"ENABLE_BITRATE_MONITORING": "1", "MIN_BITRATE_THRESHOLD": "1000"}, 8000),
        ({"ENABLE_BITRATE_MONITORING": "false", "MIN_BITRATE_THRESHOLD": "1000"}, 0),
        ({"MIN_BITRATE_THRESHOLD": "1000"}, 7),
    ],
)
def test_bitrate_of_m3u_proxy_counts_where_it_is_enabled_in_bytes(
    read: Read, environ: dict[str, str], bits_per_second: int
) -> None:
    assert read("failover: {min_bitrate: 7}", environ).failover.min_bitrate == bits_per_second


@pytest.mark.parametrize(
    "environ",
    [
        {"STRICT_LIVE_TS": "maybe"},
        {"USE_STICKY_SESSION": "2"},
        {"STREAM_RETRY_EXPONENTIAL_BACKOFF": "maybe"},
        {"ENABLE_BITRATE_MONITORING": "maybe"},
        {"ENABLE_BITRATE_MONITORING": "true", "MIN_BITRATE_THRESHOLD": "62.5k"},
        {"STREAM_RETRY_ATTEMPTS": "many"},
    ],
)
def test_value_that_m3u_proxy_would_refuse_is_a_mistake(mistakes: Mistakes, environ: dict[str, str]) -> None:
    (mistake,) = mistakes("", environ)

    assert mistake.startswith(f"{next(iter(environ))}: ")


def test_own_name_wins_where_m3u_proxys_means_another_unit(read: Read) -> None:
    environ = {"ENABLE_BITRATE_MONITORING": "true", "STREAMPROXY_FAILOVER__MIN_BITRATE": "5"}

    assert read("", environ).failover.min_bitrate == 5


def test_backups_are_made_and_continued_by_index(read: Read) -> None:
    config = read(
        "streams: {news: {url: http://a/, failover: [http://b/]}}",
        {
            "STREAMPROXY_STREAMS__NEWS__FAILOVER__0__USER_AGENT": "UA",
            "STREAMPROXY_STREAMS__NEWS__FAILOVER__1": "http://c/",
            "STREAMPROXY_STREAMS__NEWS__FAILOVER_URLS__0": "http://d/",
            "STREAMPROXY_SLATE": "false",
        },
    )

    news = config.streams["news"]
    assert [(backup.url, backup.user_agent) for backup in news.failover] == [("http://b/", "UA"), ("http://c/", None)]
    assert news.failover_urls == ("http://d/",)
    assert not config.slate.enabled


def test_settings_join_a_section_of_one_word(read: Read) -> None:
    config = read("strict_live_ts: true", {"STRICT_LIVE_TS_PREBUFFER_SIZE": "1000"})

    assert (config.strict_live_ts.enabled, config.strict_live_ts.prebuffer_size) == (True, 1000)


def test_lists_are_made_and_continued_by_index(read: Read) -> None:
    config = read(
        "playlists: [http://a/]",
        {
            "STREAMPROXY_PLAYLISTS__2__NAME": "c",
            "STREAMPROXY_PLAYLISTS__2__URL": "http://c/",
            "STREAMPROXY_PLAYLISTS__1": "http://b/",
            "STREAMPROXY_SERVER__TRUSTED_PROXIES__0": "10.0.0.0/8",
        },
    )

    assert [playlist.url for playlist in config.playlists] == ["http://a/", "http://b/", "http://c/"]
    assert config.playlists[2].name == "c"
    assert [str(network) for network in config.server.trusted_proxies] == ["10.0.0.0/8"]


def test_items_come_in_the_order_of_numbers(read: Read) -> None:
    config = read("", {f"STREAMPROXY_PLAYLISTS__{index}": f"http://{index}/" for index in reversed(range(11))})

    assert [playlist.url for playlist in config.playlists] == [f"http://{index}/" for index in range(11)]


def test_short_form_of_the_file_gains_keys(read: Read) -> None:
    config = read(
        "playlists: [http://a/]\nstreams: {News: http://n/, other: http://o/}",
        {
            "STREAMPROXY_PLAYLISTS__0__USER_AGENT": "UA",
            "STREAMPROXY_STREAMS__NEWS__TITLE": "T",
            "STREAMPROXY_STREAMS__NEWS__METADATA__TIER": "1",
            "STREAMPROXY_STREAMS__SPORT": "http://s/",
            "STREAMPROXY_STREAMS__FILMS__HEADERS__X-A": "b",
        },
    )

    assert (config.playlists[0].url, config.playlists[0].user_agent) == ("http://a/", "UA")
    news = config.streams["News"]
    assert (news.url, news.title, news.metadata) == ("http://n/", "T", {"tier": "1"})
    assert config.streams["sport"].url == "http://s/"
    assert config.streams["films"].headers == {"x-a": "b"}
    assert list(config.streams) == ["News", "other", "films", "sport"]


def test_value_behind_an_anchor_changes_only_where_it_is_named(read: Read) -> None:
    config = read("streams: {a: &a {url: http://h/}, b: *a}", {"STREAMPROXY_STREAMS__A__URL": "http://i/"})

    assert [stream.url for stream in config.streams.values()] == ["http://i/", "http://h/"]


def test_null_sections_take_settings(read: Read) -> None:
    environ = {"STREAMPROXY_SERVER__PORT": "9", "STREAMPROXY_PLAYLISTS__0": "http://a/"}

    config = read("server:\nplaylists:\n", environ)

    assert (config.server.port, len(config.playlists)) == (9, 1)


@pytest.mark.parametrize(
    ("variable", "suggestion"),
    [
        ("STREAMPROXY_SERVER__PROT", "did you mean STREAMPROXY_SERVER__PORT?"),
        ("STREAMPROXY_SERVRE__PORT", "did you mean STREAMPROXY_SERVER__PORT?"),
        ("STREAMPROXY_SERVER_PORT", "did you mean STREAMPROXY_SERVER__PORT?"),
        ("STREAMPROXY_SERVER", "did you mean STREAMPROXY_SERVER__PORT?"),
        ("STREAMPROXY_PLAYLISTS", "did you mean STREAMPROXY_PLAYLISTS__0?"),
        ("STREAMPROXY_PLAYLISTS__7__ULR", "did you mean STREAMPROXY_PLAYLISTS__7__URL?"),
        ("STREAMPROXY_PLAYLISTS__X__URL", "did you mean STREAMPROXY_PLAYLISTS__0__URL?"),
        ("STREAMPROXY_STREAMS__NEWS__TITEL", "did you mean STREAMPROXY_STREAMS__NEWS__TITLE?"),
        ("STREAMPROXY_CACHEDIR", "did you mean STREAMPROXY_CACHE_DIR?"),
        ("STREAMPROXY_SERVER__PORT__X", "did you mean STREAMPROXY_SERVER__PORT?"),
        ("STREAMPROXY_XYZZY", "config.example.yml lists all there are"),
        ("STREAMPROXY_PORT", "did you mean STREAMPROXY_SERVER__PORT?"),
    ],
)
def test_unknown_name_is_a_mistake_with_a_suggestion(mistakes: Mistakes, variable: str, suggestion: str) -> None:
    (mistake,) = mistakes("", {variable: "80"})

    assert mistake.startswith(f"{variable}: unknown setting")
    assert mistake.endswith(suggestion)


def test_names_that_are_no_settings_are_left_alone(read: Read) -> None:
    read(
        "",
        {
            "STREAMPROXY_CONFIG": "x.yml",
            "STREAMPROXY_EMPTY": "",
            "STREAMPROXYX": "1",
            "STREAMPROXY_SERVICE_HOST": "10.0.0.1",
            "STREAMPROXY_SERVICE_PORT_HTTP": "8080",
            "STREAMPROXY_PORT": "tcp://10.0.0.1:8080",
            "STREAMPROXY_PORT_8080_TCP": "tcp://10.0.0.1:8080",
            "STREAMPROXY_PORT_8080_TCP_ADDR": "10.0.0.1",
        },
    )


def test_left_out_item_is_a_mistake(mistakes: Mistakes) -> None:
    assert mistakes("playlists: [http://a/]", {"STREAMPROXY_PLAYLISTS__2__URL": "http://c/"}) == [
        "STREAMPROXY_PLAYLISTS__2__URL: playlists.2.url: must not skip an item: the next one has the index 1"
    ]


def test_wrong_kind_in_the_file_is_told_as_the_files_mistake(mistakes: Mistakes) -> None:
    environ = {
        "STREAMPROXY_SERVER__PORT": "1",
        "STREAMPROXY_PLAYLISTS__0": "http://a/",
        "STREAMPROXY_STREAMS__A__TITLE": "x",
    }

    found = mistakes("server: text\nplaylists: {}\nstreams: {a: []}", environ)

    assert [mistake.partition(": ")[0] for mistake in found] == ["config.yml:1:9", "config.yml:2:12", "config.yml:3:14"]


def test_missing_key_of_a_variables_item_names_the_variable(mistakes: Mistakes) -> None:
    assert mistakes("", {"STREAMPROXY_PLAYLISTS__0__NAME": "x"}) == [
        "STREAMPROXY_PLAYLISTS__0__NAME: playlists.0.url: required key is missing"
    ]


def test_secret_in_a_variable_is_never_shown(mistakes: Mistakes) -> None:
    found = mistakes(
        "",
        {
            "STREAMPROXY_PLAYLISTS__0__URL": "ftp://user:s3cr3t@h/",
            "STREAMPROXY_STREAMS__A__HEADERS__X": "s3cr3t\n",
            "STREAMPROXY_PLAYLIST": "s3cr3t",
        },
    )

    assert len(found) == 3
    assert "s3cr3t" not in "".join(found)


@pytest.mark.parametrize(
    ("environ", "hwaccel"),
    [
        ({}, "auto"),
        ({"HW_ACCEL_TYPE": "cpu"}, "off"),
        ({"HW_ACCEL_TYPE": "Intel"}, "vaapi"),
        ({"HW_ACCEL_TYPE": "amd"}, "vaapi"),
        ({"HW_ACCEL_TYPE": "nvidia", "HW_ACCEL_AVAILABLE": "true"}, "nvidia"),
        ({"HW_ACCEL_TYPE": "nvidia", "HW_ACCEL_AVAILABLE": "False"}, "off"),
    ],
)
def test_hardware_of_m3u_proxy_is_understood(read: Read, environ: dict[str, str], hwaccel: str) -> None:
    transcode = read("", {**environ, "HW_ACCEL_DEVICE": "/dev/dri/renderD129"}).transcode

    assert (transcode.hwaccel, transcode.device) == (hwaccel, "/dev/dri/renderD129")


def test_profile_can_come_from_the_environment(read: Read) -> None:
    environ = {"STREAMPROXY_TRANSCODE__PROFILES__TINY__MAX_HEIGHT": "240"}

    assert read("", environ).transcode.profiles["tiny"].max_height == 240
