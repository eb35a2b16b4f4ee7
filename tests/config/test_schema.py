from collections.abc import Mapping
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from streamproxy.config import (
    RESERVED_NAMES,
    BackupConfig,
    Config,
    FailoverConfig,
    PlaylistConfig,
    RetryConfig,
    ServerConfig,
    StreamConfig,
)
from streamproxy.config.folders import default_cache_dir
from streamproxy.config.keys import ROOT, Kind


def sections(kind: Kind = ROOT) -> list[type[BaseModel]]:
    below = [kind.child(name) for name in kind.fields]
    if kind.is_list or kind.is_map:
        below = [kind.child(0 if kind.is_list else "x")]
    found = [section for child in below if child for section in sections(child)]
    return [kind.annotation, *found] if kind.fields else found


def test_every_key_has_a_description_of_its_own() -> None:
    descriptions = [field.description for section in sections() for field in section.model_fields.values()]

    assert len(sections()) == 17
    assert all(description and description.endswith(".") for description in descriptions)


@pytest.mark.parametrize("section", sections(), ids=lambda section: section.__name__)
def test_section_cannot_be_changed(section: type[BaseModel]) -> None:
    instance = section.model_construct()

    with pytest.raises(ValidationError, match="frozen"):
        setattr(instance, next(iter(section.model_fields)), "x")


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("lists/radio.m3u", "radio"),
        ("/srv/tv channels.m3u8", "tv channels"),
        ("/", "playlist"),
    ],
)
def test_list_in_a_file_is_named_after_the_file(url: str, name: str) -> None:
    assert PlaylistConfig(url=url).name == name


def test_name_of_a_fetched_list_depends_on_host_port_and_path_alone() -> None:
    name = PlaylistConfig(url="http://provider.example/get.php").name

    for same in (
        "http://PROVIDER.example:80/get.php?username=u&password=p",
        "HTTP://user:password@provider.example/get.php#fragment",
    ):
        assert PlaylistConfig(url=same).name == name
    for other in ("https://provider.example/get.php", "http://provider.example/", "http://provider.example:81/get.php"):
        assert PlaylistConfig(url=other).name != name
    assert name == "playlist-a8ae92", "a name decides the ids of channels, which are for ever"


def test_lists_need_different_names() -> None:
    with pytest.raises(ValidationError):
        Config(playlists=(PlaylistConfig(url="a.m3u"), PlaylistConfig(url="b.m3u", name="a")))


def test_url_is_kept_byte_for_byte() -> None:
    url = "http://Provider.example:80/a%2fb//c/../d;x?q=%C3%A4&b=ä#f"

    assert (PlaylistConfig(url=url).url, StreamConfig(url=url).url) == (url, url)


@pytest.mark.parametrize("url", [" http://h/\n", "http://h/", "hls://h/a.m3u8", "demo:", "http://h/a.m3u8 bitrate=5"])
def test_stream_keeps_its_address_without_the_blanks_around_it(url: str) -> None:
    assert StreamConfig(url=url).url == url.strip()


INCOMPLETE = """
ftp://h/ http:// http:h http:///x http://[::1/ http://h:port/ http://h:0/ http://:80/ //h/x h/x hls:// hls://file:///x
file:///x javascript:x demo:x
"""


@pytest.mark.parametrize("url", [*INCOMPLETE.split(), "http://h/\nx", "http://h/\0x", "http://h/\u2028x"])
def test_stream_needs_a_complete_address(url: str) -> None:
    with pytest.raises(ValidationError):
        StreamConfig(url=url)


@pytest.mark.parametrize(
    "url", ["", "a\0b", "ftp://h/", "data:text", "http://", "localhost:8080/x.m3u", "~nobody-at-all/x"]
)
def test_list_needs_a_complete_address_or_a_path(url: str) -> None:
    with pytest.raises(ValidationError):
        PlaylistConfig(url=url)


@pytest.mark.parametrize("url", [*INCOMPLETE.split(), "", " ", "http://h/\nx"])
def test_backup_needs_a_complete_address(url: str) -> None:
    for wrong in ({"failover": [url]}, {"failover": [{"url": url}]}, {"failover_urls": [url]}):
        with pytest.raises(ValidationError):
            StreamConfig.model_validate(wrong)


@pytest.mark.parametrize("url", [*INCOMPLETE.split(), "", "demo:", "hls://h/x.m3u8"])
def test_resolver_needs_a_complete_address(url: str) -> None:
    with pytest.raises(ValidationError):
        FailoverConfig(resolver_url=url)
    with pytest.raises(ValidationError):
        StreamConfig(failover_resolver_url=url)


def test_backup_is_an_address_or_a_mapping() -> None:
    backups = ["http://a/", {"url": "hls://http://b/", "user_agent": "UA", "account": "provider"}, "demo:"]

    stream = StreamConfig.model_validate({"failover": backups})

    assert stream.failover == (
        BackupConfig(url="http://a/"),
        BackupConfig(url="hls://http://b/", user_agent="UA", account="provider"),
        BackupConfig(url="demo:"),
    )


def test_addresses_of_backups_and_resolvers_are_in_no_repr() -> None:
    url = "http://h/s3cr3t"
    config = Config.model_validate(
        {
            "failover": {"resolver_url": url},
            "streams": {"a": {"failover": [url], "failover_urls": [url], "failover_resolver_url": url}},
        }
    )

    assert "s3cr3t" not in repr(config)


@pytest.mark.parametrize("enabled", [True, False])
def test_bare_text_turns_a_slate_and_strict_streams_on_and_off(enabled: bool) -> None:
    text = str(enabled).lower()

    config = Config.model_validate({"slate": text, "strict_live_ts": text})

    assert (config.slate.enabled, config.strict_live_ts.enabled) == (enabled, enabled)
    assert config == Config.model_validate({"slate": {"enabled": text}, "strict_live_ts": {"enabled": text}})


@pytest.mark.parametrize(
    "wrong",
    [
        {"attempts": "-1"},
        {"attempts": "1.5"},
        {"delay": "0"},
        {"backoff": "0.5"},
        {"backoff": "double"},
        {"jitter": "1.1"},
        {"jitter": "20%"},
        {"jitter": True},
        {"total_timeout": "nan"},
    ],
)
def test_terms_of_retries_stay_within_their_limits(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        RetryConfig.model_validate(wrong)


def test_terms_of_retries_may_be_fractions() -> None:
    terms = RetryConfig.model_validate({"delay": "0.5", "backoff": "1.5", "jitter": ".25", "total_timeout": "0"})

    assert (terms.delay, terms.backoff, terms.jitter, terms.total_timeout) == (0.5, 1.5, 0.25, 0)


def test_null_keeps_a_stream_to_what_is_set_for_all() -> None:
    stream = StreamConfig.model_validate({"strict_live_ts": None, "use_sticky_session": "false", "account": None})

    assert (stream.strict_live_ts, stream.use_sticky_session, stream.account) == (None, False, None)


def test_request_headers_hold_one_user_agent() -> None:
    headers = {"user-agent": "of headers", "Referer": "r"}

    assert StreamConfig(headers=headers).request_headers == headers
    assert StreamConfig(headers=headers, user_agent="own").request_headers == {"User-Agent": "own", "Referer": "r"}
    assert StreamConfig().request_headers == {}


@pytest.mark.parametrize("name", ["News 1", "käse", "日本", "a.b", "vod", "a%2fb", "x" * 200, "🎬"])
def test_stream_names_hold_any_text(name: str) -> None:
    assert list(Config(streams={name: StreamConfig()}).streams) == [name]


@pytest.mark.parametrize(
    "name", ["", " a", "a ", "a/b", "a?b", "a#b", ".", "..", "a\nb", "a\x85b", "a\u2028", "x" * 201]
)
def test_stream_names_never_break_an_address(name: str) -> None:
    with pytest.raises(ValidationError):
        Config(streams={name: StreamConfig()})


@pytest.mark.parametrize("name", sorted(RESERVED_NAMES))
def test_reserved_names_are_refused(name: str) -> None:
    with pytest.raises(ValidationError, match="the proxy uses itself"):
        Config(streams={name: StreamConfig()})


SMUGGLING = """
Host Content-Length Transfer-Encoding Connection Te Upgrade Proxy-Authorization :authority A: Ä
"""


@pytest.mark.parametrize("name", [*SMUGGLING.split(), "", "X Inj", "A\n", "x" * 101])
def test_header_names_that_could_smuggle_are_refused(name: str) -> None:
    with pytest.raises(ValidationError):
        StreamConfig(headers={name: "x"})


@pytest.mark.parametrize(
    "value", ["a\r\nB: c", "a\n", "a\r", "\0", "a\u2028", "a\x85", "Ċ", "x" * 65536, "", " a", "ü", "a\tb"]
)
def test_header_values_that_could_smuggle_are_refused(value: str) -> None:
    for wrong in ({"headers": {"X": value}}, {"user_agent": value}):
        with pytest.raises(ValidationError):
            StreamConfig.model_validate(wrong)


def test_metadata_keeps_numbers_and_booleans_as_text() -> None:
    metadata = {"a": 1, "b": 1.5, "c": True, "d": "x"}

    assert StreamConfig.model_validate({"metadata": metadata}).metadata == {"a": "1", "b": "1.5", "c": "true", "d": "x"}


@pytest.mark.parametrize(
    ("written", "path"), [("", ""), ("/", ""), ("a", "/a"), ("/a/", "/a"), ("a/b-c.d~e_f", "/a/b-c.d~e_f")]
)
def test_root_path_is_normalised(written: str, path: str) -> None:
    assert ServerConfig(root_path=written).root_path == path


@pytest.mark.parametrize("path", ["/a b", "/a//b", "/..", "/a/./b", "/a?b", "/{x}", "/ä", "/a\n", "/%2f"])
def test_root_path_is_a_plain_path(path: str) -> None:
    with pytest.raises(ValidationError):
        ServerConfig(root_path=path)


@pytest.mark.parametrize(
    "url",
    [
        "tv.example",
        "ftp://h",
        "http://",
        "http://u:p@h",
        "http://h?x=1",
        "http://h/#x",
        "http://h/ x",
        "http://h/ä",
        "a\n",
    ],
)
def test_public_url_is_a_plain_address(url: str) -> None:
    with pytest.raises(ValidationError):
        ServerConfig(public_url=url)


@pytest.mark.parametrize("wrong", [{"port": True}, {"port": 8080.0}, {"port": -1}, {"host": 1}])
def test_numbers_in_python_are_checked_too(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        ServerConfig.model_validate(wrong)


@pytest.mark.parametrize("encoding", ["utf-16", "latin-1", "CP1251", "iso-8859-15", "shift_jis"])
def test_known_encodings_are_taken(encoding: str) -> None:
    assert PlaylistConfig(url="a", encoding=encoding).encoding == encoding


@pytest.mark.parametrize("encoding", ["", "hex", "rot13", "base64", "utf-99", "a\0b", "../x", "x" * 50])
def test_what_is_no_text_encoding_is_refused(encoding: str) -> None:
    with pytest.raises(ValidationError):
        PlaylistConfig(url="a", encoding=encoding)


@pytest.mark.parametrize(
    ("environ", "path"),
    [
        ({"CACHE_DIRECTORY": "/c/a:/c/b", "XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/c/a"),
        ({"XDG_CACHE_HOME": "/x", "HOME": "/h"}, "/x/streamproxy"),
        ({"XDG_CACHE_HOME": "x", "HOME": "/h"}, "/h/.cache/streamproxy"),
        ({"HOME": "/h"}, "/h/.cache/streamproxy"),
        ({}, "/var/cache/streamproxy"),
    ],
)
def test_cache_is_where_the_platform_wants_it(environ: Mapping[str, str], path: str) -> None:
    assert default_cache_dir(environ) == Path(path)
