import tempfile
from collections.abc import Callable
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from streamproxy.config import Config, OptionsConfig, RelayConfig, ServerConfig, find, load
from streamproxy.errors import ConfigError
from streamproxy.model import RelayMode

Read = Callable[..., Config]
Mistakes = Callable[..., list[str]]

STREAMPIPE = """\
server:
  host: "0.0.0.0"
  port: 8080

streams:
  vod: "https://provider.example/movie.m3u8"
  live-1: hls://provider.example/live/1.m3u8
  page:
    url: https://www.youtube.com/watch?v=abcdefghijk
  later:
    url: ""
  never:
  123: "httpstream://https://provider.example/a.ts"
  on: https://provider.example/on.m3u8

options:
  user_agent: "StreamPipe/1.0"
  threads: "4"
  timeout: 20.0
  buffer_size: 8192
"""


def test_streampipe_configuration_works_unchanged(read: Read) -> None:
    config = read(STREAMPIPE)

    assert (config.server.host, config.server.port) == ("0.0.0.0", 8080)
    assert {name: stream.url for name, stream in config.streams.items()} == {
        "vod": "https://provider.example/movie.m3u8",
        "live-1": "hls://provider.example/live/1.m3u8",
        "page": "https://www.youtube.com/watch?v=abcdefghijk",
        "later": None,
        "never": None,
        "123": "httpstream://https://provider.example/a.ts",
        "on": "https://provider.example/on.m3u8",
    }
    assert config.options == OptionsConfig(user_agent="StreamPipe/1.0", threads=4, timeout=20.0, buffer_size=8192)


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "server:\nstreams:\noptions:\nplaylists:\nrelay:\nlog:\n"]
)
def test_null_sections_and_empty_files_are_all_defaults(read: Read, text: str) -> None:
    config = read(text)

    assert config.server == ServerConfig()
    assert config.options == OptionsConfig()
    assert config.relay == RelayConfig()
    assert (config.playlists, config.streams) == ((), {})


def test_null_stands_for_the_default_of_a_key(read: Read) -> None:
    assert read("server: {host: null, port: ~, public_url: }\nrelay: {linger: }").server == ServerConfig()


@pytest.mark.parametrize(
    "written",
    ["0123", "no", "on", "12:30:45", "1.10", "1e3", "true", "0x10", "2026-11-20", "123", "1_000", ".5", "=", "<<x"],
)
def test_text_is_what_was_written(read: Read, written: str) -> None:
    stream = read(
        f"streams: {{{written}: {{title: {written}, group: {written}, user_agent: {written}, "
        f"headers: {{X-A: {written}}}, metadata: {{{written}: {written}}}}}}}"
    ).streams[written]

    assert (stream.title, stream.group, stream.user_agent) == (written, written, written)
    assert stream.headers == {"X-A": written}
    assert stream.metadata == {written: written}


def test_quoted_null_is_text(read: Read) -> None:
    assert read("streams: {a: {title: 'null', group: '~'}}").streams["a"].title == "null"


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("server:\n  port: eighty", "2:9: server.port: must be a whole number between 0 and 65535, not 'eighty'"),
        ("server: {port: 65536}", "1:16: server.port: must be a whole number between 0 and 65535, not '65536'"),
        ("server: {port: 0123}", "1:16: server.port: must be a whole number between 0 and 65535, not '0123'"),
        ("server: {port: 0x10}", "1:16: server.port: must be a whole number between 0 and 65535, not '0x10'"),
        ("server: {port: 80.0}", "1:16: server.port: must be a whole number between 0 and 65535, not '80.0'"),
        ("server: {port: [80]}", "1:16: server.port: must be a whole number between 0 and 65535, not a list"),
        ("server: {prot: 80}", "1:10: server.prot: unknown key, did you mean 'port'?"),
        ("port: 80", "1:1: port: unknown key, did you mean 'server.port'?"),
        ("log_level: info", "1:1: log_level: unknown key, did you mean 'log.level'?"),
        (
            "qqq: 1",
            "1:1: qqq: unknown key; here may stand server, playlists, merge_playlists, streams, options, relay, retry, "
            "failover, slate, strict_live_ts, hls, transcode, api, webhooks, log, cache_dir, state_dir",
        ),
        ("server: text", "1:9: server: must be a mapping, not text"),
        ("server:\n- 1", "2:1: server: must be a mapping, not a list"),
        ("playlists: {}", "1:12: playlists: must be a list, not a mapping"),
        ("playlists:\n  - name: x", "2:5: playlists.0.url: required key is missing"),
        ("playlists:\n  -", "2:4: playlists.0.url: required key is missing"),
        (
            "playlists:\n  - file:///etc/passwd",
            "2:5: playlists.0: must be a complete http:// or https:// address, or the path of a file",
        ),
        (
            "playlists:\n  - url: http://",
            "2:10: playlists.0.url: must be a complete http:// or https:// address, or the path of a file",
        ),
        (
            "playlists: [{url: http://h/, name: a, encoding: utf9}]",
            "1:49: playlists.0.encoding: must be the name of a text encoding, such as cp1252 or iso-8859-9, not 'utf9'",
        ),
        (
            "playlists: [{url: http://h/, timeout: 0}]",
            "1:39: playlists.0.timeout: must be a number of seconds between 0.1 and 86400, not '0'",
        ),
        (
            "playlists: [{url: http://h/, name: a}, {url: http://i/, name: a}]",
            "1:63: playlists.1.name: must differ from the name of playlists.0",
        ),
        (
            "playlists: ['http://h/get.php?u=1', 'http://h/get.php?u=2']",
            "1:37: playlists.1: the name derived from its address is that of playlists.0 too; add a 'name' of its own",
        ),
        (
            "streams:\n  a/b: http://h/",
            "2:3: streams.a/b: must be a name without '/', '?' and '#', since it becomes part of an address",
        ),
        (
            "streams:\n  health: http://h/",
            "2:3: streams.health: must not be a name that the proxy uses itself; choose another one",
        ),
        ("streams:\n  a: rtsp://h/", "2:6: streams.a: must be a complete http:// or https:// address"),
        ("streams:\n  a: [http://h/]", "2:6: streams.a: must be a mapping, not a list"),
        ("streams:\n  a: {mode: x}", "2:13: streams.a.mode: must be 'shared' or 'direct', not 'x'"),
        (
            'streams: {a: {title: "a\\nb"}}',
            "1:22: streams.a.title: must be one line of text without control characters, not 'a\\nb'",
        ),
        (
            "streams: {a: {headers: {X Inj: a}}}",
            "1:25: streams.a.headers.X Inj: must be the name of an HTTP header, such as Referer",
        ),
        (
            "streams: {a: {headers: {host: a}}}",
            "1:25: streams.a.headers.host: must not be a header that names the server or frames the message",
        ),
        (
            'streams: {a: {headers: {A: "x\\r\\nB: y"}}}',
            "1:28: streams.a.headers.A: must be 1 to 4096 printable ASCII characters without blanks around them",
        ),
        (
            "streams: {a: {headers: {A: x, a: y}}}",
            "1:24: streams.a.headers: must not name a header twice in different case",
        ),
        (
            "streams: {a: {failover: [ftp://h/]}}",
            "1:26: streams.a.failover.0: must be a complete http:// or https:// address",
        ),
        (
            "streams: {a: {failover: [{user_agent: UA}]}}",
            "1:26: streams.a.failover.0.url: required key is missing",
        ),
        ("streams: {a: {failover: http://h/}}", "1:25: streams.a.failover: must be a list, not text"),
        (
            "streams: {a: {failover_urls: [{url: http://h/}]}}",
            "1:31: streams.a.failover_urls.0: must be text, not a mapping",
        ),
        (
            "playlists: [{url: http://h/, name: one}]\nstreams: {a: {account: two}}",
            "2:24: streams.a.account: must be the name of a list: one",
        ),
        (
            "streams: {a: {failover: [http://h/, {url: http://h/, account: x}]}}",
            "1:63: streams.a.failover.1.account: must be the name of a list",
        ),
        (
            "streams: {a: {profile: 4k}}\ntranscode: {profiles: {own: {fps: 25}}}",
            "1:24: streams.a.profile: must be one of default, hq, lowlatency, 720p, 1080p, hevc, audio, vp9, av1, "
            "mjpeg, own",
        ),
        (
            "playlists:\n- {url: http://h/, profile: HQ}",
            "2:29: playlists.0.profile: must be one of default, hq, lowlatency, 720p, 1080p, hevc, audio, vp9, av1, "
            "mjpeg",
        ),
        (
            "transcode:\n  profiles:\n    a: {video: vp9}\n    b: {container: matroska}",
            "3:8: transcode.profiles.a: cannot have vp9 as video in mpegts: set container to mp4, webm or matroska, or "
            "video to copy, h264 or hevc",
        ),
        (
            "transcode: {profiles: {a: -i /etc/passwd}}",
            "1:27: transcode.profiles.a: must read nothing but the stream: write -i {input_url}",
        ),
        (
            "transcode: {profiles: {a: {template: '-i {input_url}', fps: 25}}}",
            "1:27: transcode.profiles.a: is a template, in which nothing else counts: leave out fps",
        ),
        (
            "transcode: {profiles: {a: {video_bitrate: 2 Mbit}}}",
            "1:43: transcode.profiles.a.video_bitrate: must be bits per second such as 2500k or 2.5M, between 10000 "
            "and 200000000, not '2 Mbit'",
        ),
        (
            "transcode: {profiles: {a/b: {}}}",
            "1:24: transcode.profiles.a/b: must be a name without '/', '?', '#' and '&' that does not begin with '-'",
        ),
        (
            "transcode: {hwaccel: gpu}",
            "1:22: transcode.hwaccel: must be 'auto', 'off', 'nvidia', 'vaapi', 'qsv', 'amf', 'v4l2m2m' or "
            "'videotoolbox', not 'gpu'",
        ),
        (
            "transcode: {device: ../x}",
            "1:21: transcode.device: must be a device such as /dev/dri/renderD128, or the number of a graphics card, "
            "not '../x'",
        ),
        ("merge_playlists: title", "1:18: merge_playlists: must be 'none', 'tvg-id' or 'name', not 'title'"),
        ("retry: {backoff: 0}", "1:18: retry.backoff: must be a number between 1 and 100, not '0'"),
        ("slate: maybe", "1:8: slate: must be true or false, not 'maybe'"),
        ("slate: {enabled: 1}", "1:18: slate.enabled: must be true or false, not '1'"),
        ("log: {level: loud}", "1:14: log.level: must be 'debug', 'info', 'warning' or 'error', not 'loud'"),
        (
            "server: {trusted_proxies: [10.0.0.1/8]}",
            "1:28: server.trusted_proxies.0: must be an IP address or a network without host bits, such as 10.0.0.0/8, "
            "not '10.0.0.1/8'",
        ),
        (
            "relay: {chunk_size: 1315}",
            "1:21: relay.chunk_size: must be a whole number of bytes between 1316 and 1048576, not '1315'",
        ),
        ("relay: {linger: -1}", "1:17: relay.linger: must be a number of seconds between 0 and 86400, not '-1'"),
        ("relay: {linger: nan}", "1:17: relay.linger: must be a number of seconds between 0 and 86400, not 'nan'"),
        (
            "relay: {linger: " + "9" * 50 + "}",
            "1:17: relay.linger: must be a number of seconds between 0 and 86400, not '" + "9" * 40 + "'...",
        ),
        (
            "server: {port: 1, port: 2}",
            "1:19: server.port: duplicate key, first on line 1, column 10; remove one of them",
        ),
        (
            "streams: {a: &a http://h/, health: *a}",
            "1:28: streams.health: must not be a name that the proxy uses itself; choose another one",
        ),
        (
            "playlists: [!env NOPE]",
            "1:13: playlists.0: the environment variable NOPE is not set; set it, or write a default behind its name",
        ),
        (
            "server: {port: !env NOPE}",
            "1:16: server.port: the environment variable NOPE is not set; set it, or write a default behind its name",
        ),
    ],
)
def test_mistake_tells_position_path_and_remedy(mistakes: Mistakes, text: str, mistake: str) -> None:
    assert mistakes(text) == [f"config.yml:{mistake}"]


def test_all_mistakes_are_told_at_once_in_the_order_of_the_file(mistakes: Mistakes) -> None:
    text = """\
server:
  port: eighty
  port: 81
  hots: x
playlists:
  - {url: http://h/1, name: same}
  - {url: http://h/2, name: same}
  - {url: "ftp://h/"}
streams:
  stats: http://h/
  a: {url: !secret nothing, mode: none}
relay: {queue: 3}
"""
    found = mistakes(text, {"STREAMPROXY_LOG__LEVLE": "info", "PORT": ""}, {"server.host": "a b", "server.port": None})

    assert [mistake.partition(": ")[0] for mistake in found] == [
        "config.yml:2:9",
        "config.yml:3:3",
        "config.yml:4:3",
        "config.yml:7:29",
        "config.yml:8:11",
        "config.yml:10:3",
        "config.yml:11:12",
        "config.yml:11:35",
        "config.yml:12:16",
        "STREAMPROXY_LOG__LEVLE",
        "command line",
    ]


def test_account_is_not_doubted_while_a_list_is_wrong(mistakes: Mistakes) -> None:
    text = "playlists: [{url: ftp://h/, name: one}]\nstreams: {a: {account: one}}"

    assert [mistake.partition(": ")[0] for mistake in mistakes(text)] == ["config.yml:1:19"]


def test_mistake_in_a_variable_names_the_variable(mistakes: Mistakes) -> None:
    assert mistakes("server: {port: 1}", {"STREAMPROXY_SERVER__PORT": "x"}) == [
        "STREAMPROXY_SERVER__PORT: server.port: must be a whole number between 0 and 65535, not 'x'"
    ]


def test_mistake_on_the_command_line_names_it(mistakes: Mistakes) -> None:
    assert mistakes("", {}, {"server.port": 70000}) == [
        "command line: server.port: must be a whole number between 0 and 65535, not '70000'"
    ]


def test_command_line_wins_over_environment_and_file(read: Read) -> None:
    config = read(
        "server: {host: a, port: 1}\nlog: {level: error}",
        {"STREAMPROXY_SERVER__HOST": "b", "STREAMPROXY_SERVER__PORT": "2"},
        {"server.host": "c", "server.port": None, "log.level": "debug"},
    )

    assert (config.server.host, config.server.port, config.log.level) == ("c", 2, "debug")


def test_relative_paths_start_at_the_folder_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "config.yml").write_text("playlists: [lists/radio.m3u, {url: /srv/tv.m3u}]\ncache_dir: cache")

    config = load(tmp_path / "config.yml", {})

    assert [playlist.path for playlist in config.playlists] == [tmp_path / "lists/radio.m3u", Path("/srv/tv.m3u")]
    assert config.cache_dir == tmp_path / "cache"


def test_without_a_file_there_are_environment_and_defaults() -> None:
    config = load(None, {"STREAMPROXY_SERVER__PORT": "9000", "CACHE_DIRECTORY": "/var/cache/a:/var/cache/b"})

    assert config == Config(
        server=ServerConfig(port=9000), cache_dir=Path("/var/cache/a"), state_dir=Path("/var/lib/streamproxy")
    )


def test_whole_configuration_arrives(read: Read) -> None:
    config = read(
        """\
server: {host: '[::1]', port: 0, root_path: tv/, public_url: https://tv.example/, trusted_proxies: [10.0.0.1, fd00::/8]}
playlists:
  - https://h/a.m3u
  - {url: https://h/b.m3u, name: B, user_agent: UA, headers: {Referer: x}, timeout: 5, encoding: latin-1}
streams:
  a: {url: http://h/, title: A, logo: l, group: G, mode: Direct, metadata: {n: 1}}
  b: {url: http://b/, account: B, failover: [{url: http://c/, account: B}], strict_live_ts: true}
merge_playlists: TVG-ID
relay: {chunk_size: 65500, history: 0}
log: {level: WARNING, format: json}
"""
    )

    assert config.server == ServerConfig(
        host="::1",
        port=0,
        root_path="/tv",
        public_url="https://tv.example",
        trusted_proxies=(ip_network("10.0.0.1/32"), ip_network("fd00::/8")),
    )
    assert config.playlists[1].name == "B"
    assert config.playlists[1].request_headers == {"User-Agent": "UA", "Referer": "x"}
    assert config.streams["a"].mode is RelayMode.DIRECT
    assert (config.streams["b"].account, config.streams["b"].failover[0].account) == ("B", "B")
    assert config.streams["b"].strict_live_ts
    assert config.merge_playlists == "tvg-id"
    assert config.relay.chunk_size == 65424
    assert (config.log.level, config.log.format) == ("warning", "json")


SECRET = "hunter2-s3cr3t"


@pytest.mark.parametrize(
    "text",
    [
        f"playlists: http://user:{SECRET}@h/",
        f"playlists: ['ftp://user:{SECRET}@h/']",
        f"playlists: [{{url: [http://{SECRET}@h/]}}]",
        f"playlists: {{'http://{SECRET}@h/': x}}",
        f"playlists: ['http://{SECRET}@h/': x]",
        f"streams: {{a: 'http://h:{SECRET}/'}}",
        f"streams: {{'http://h/{SECRET}': x}}",
        f'streams: {{a: {{headers: {{X: "\\0{SECRET}"}}}}}}',
        f"streams: {{a: {{headers: {SECRET}}}}}",
        f"streams: {SECRET}",
        f"streams: {{a: {{failover: ['ftp://{SECRET}@h/']}}}}",
        f"streams: {{a: {{failover_urls: ['http://h:{SECRET}/']}}}}",
        f"streams: {{a: {{failover_resolver_url: '{SECRET}'}}}}",
        f"failover: {{resolver_url: 'http://h:{SECRET}/'}}",
        f"server: {{public_url: 'http://h/?token={SECRET}'}}",
        f"server: {{public_url: 'user:{SECRET}@h'}}",
        "server: {port: !secret password}",
        "server: {port: !env PASSWORD}",
        f"streams:\n  a: http://{SECRET}: x: y",
        f'streams:\n  a:\n    url: "http://{SECRET}',
        f"streams:\n\ta: {SECRET}",
        f"streams:\n  headers: [{SECRET}, {SECRET}\nx: ]]",
    ],
)
def test_mistake_never_shows_a_secret(mistakes: Mistakes, tmp_path: Path, text: str) -> None:
    (tmp_path / "password").write_text(SECRET)

    found = mistakes(text, {"CREDENTIALS_DIRECTORY": str(tmp_path), "PASSWORD": SECRET})

    assert found
    assert not [mistake for mistake in found if "s3cr3t" in mistake]


def test_repr_never_shows_a_secret(read: Read, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(f"https://h/?token={SECRET}\n")
    config = read(
        f"""\
playlists: [http://user:{SECRET}@h/a, {{url: http://h/{SECRET}/b, headers: {{X: {SECRET}}}}}, !secret password]
streams: {{a: http://h/{SECRET}, b: {{url: http://{SECRET}@h/, headers: {{X: {SECRET}}}}}}}
""",
        {"CREDENTIALS_DIRECTORY": str(tmp_path)},
    )

    assert config.playlists[2].url == f"https://h/?token={SECRET}"
    assert config.streams["b"].headers == {"X": SECRET}
    assert SECRET not in repr(config)
    assert SECRET not in str(config)


def test_missing_file_is_told_with_a_remedy(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yml: there is no such file; name another one with -c"):
        load(tmp_path / "nowhere.yml", {})


@pytest.mark.parametrize("name", [".", "a\0b", "x" * 300])
def test_file_that_cannot_be_read_is_told(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError):
        load(tmp_path / name, {})


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def test_search_goes_from_the_variable_to_the_system(tmp_path: Path) -> None:
    environ = {"STREAMPROXY_CONFIG": "named.yml", "XDG_CONFIG_HOME": str(tmp_path / "xdg"), "HOME": str(tmp_path)}
    files = [
        tmp_path / "streamproxy.yml",
        tmp_path / "config.yml",
        tmp_path / "xdg/streamproxy/config.yml",
        tmp_path / "etc/config.yml",
        tmp_path / "config/config.yml",
    ]
    system = files[3:]
    for file in files:
        touch(file)

    assert find(environ, tmp_path, system) == tmp_path / "named.yml"
    del environ["STREAMPROXY_CONFIG"]
    for file in files:
        assert find(environ, tmp_path, system) == file
        file.unlink()
    assert find(environ, tmp_path, system) is None


def test_search_takes_the_home_folder_without_xdg(tmp_path: Path) -> None:
    file = touch(tmp_path / "home/.config/streamproxy/config.yml")

    assert find({"HOME": str(tmp_path / "home"), "XDG_CONFIG_HOME": "relative"}, tmp_path, ()) == file


NAMES = st.sampled_from(
    [*Config.model_fields, *ServerConfig.model_fields, *RelayConfig.model_fields, "url", "headers", "<<"]
)
SCALARS = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20) | st.sampled_from(["http://h/", "8"])
)
TREES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES | st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)
PIECES = st.sampled_from([*"[]{},'\"\\|>%@#~0\n\t:", ": ", "- ", "? ", "\n  ", "---\n", "...\n", "&a ", "*a", "<<"])
WORDS = st.sampled_from(
    ["server", "playlists", "streams", "headers", "!env ", "!secret ", "!!str ", "!x ", "http://h/"]
)
VARIABLES = st.dictionaries(
    st.sampled_from(["PORT", "STREAMPROXY_", "STREAMPROXY_PORT", "STREAMPROXY_STREAMS__A__URL"])
    | st.lists(NAMES | st.sampled_from(["0", "1", "x"]), max_size=4).map(
        lambda names: "STREAMPROXY_" + "__".join(names).upper()
    ),
    st.text(max_size=10) | st.sampled_from(["http://h/", "8", "\udcff"]),
    max_size=3,
)


def accepts_or_tells(content: bytes, environ: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yml"
        path.write_bytes(content)
        told = []
        try:
            load(path, environ)
        except ConfigError as error:
            told = error.mistakes
        assert all(told)


@settings(deadline=None)
@given(st.binary() | st.text().map(str.encode), VARIABLES)
def test_any_content_is_a_configuration_or_told(content: bytes, environ: dict[str, str]) -> None:
    accepts_or_tells(content, environ)


@settings(deadline=None)
@given(st.lists(PIECES | WORDS | st.text(max_size=3)).map("".join), VARIABLES)
def test_any_yaml_pieces_are_a_configuration_or_told(text: str, environ: dict[str, str]) -> None:
    accepts_or_tells(text.encode(), environ)


@settings(deadline=None)
@given(st.dictionaries(NAMES, TREES, max_size=4), VARIABLES)
def test_any_tree_is_a_configuration_or_told(tree: dict[str, Any], environ: dict[str, str]) -> None:
    accepts_or_tells(yaml.safe_dump(tree, allow_unicode=True).encode(), environ)
