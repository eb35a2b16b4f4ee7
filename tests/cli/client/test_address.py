"""Whom the commands talk to, and with which token."""

from pathlib import Path

import click
import pytest

from streamproxy.cli.client.address import Address, parse, resolve


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("STREAMPROXY_CONFIG", "XDG_CONFIG_HOME", "PORT", "HOST", "ROOT_PATH", "API_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", Address(False, "127.0.0.1", 8080, "")),
        ("http://h/", Address(False, "h", 80, "")),
        ("https://tv.example/m3u-proxy/", Address(True, "tv.example", 443, "/m3u-proxy")),
        ("http://[::1]:8080", Address(False, "::1", 8080, "")),
    ],
)
def test_a_base_is_read(url: str, address: Address) -> None:
    assert parse(url) == address
    assert parse(str(address)) == address


@pytest.mark.parametrize(
    "url",
    [
        "",
        "h",
        "ftp://h",
        "http://",
        "http://h:0",
        "http://h:99999",
        "http://h:x",
        "http://[::1",
        "http://h/\n",
        "http://h/ä",
    ],
)
def test_what_is_no_base_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="must be an http or https URL"):
        parse(url)


@pytest.mark.parametrize("url", ["http://user:secret@h/", "http://h/?token=secret", "http://h/#secret"])
def test_what_does_not_belong_into_a_base_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(click.BadParameter) as caught:
        resolve(url, None)

    assert "must be without" in caught.value.format_message()
    assert "secret" not in caught.value.format_message()


def test_without_anything_it_is_this_machine() -> None:
    assert resolve(None, None) == (Address(False, "127.0.0.1", 8080, ""), None)


@pytest.mark.parametrize(
    ("server", "base"),
    [
        ("{host: 0.0.0.0, port: 9000, root_path: /tv}", "http://127.0.0.1:9000/tv"),
        ("{host: '::'}", "http://[::1]:8080"),
        ("{host: '::1'}", "http://[::1]:8080"),
        ("{host: 192.0.2.1}", "http://192.0.2.1:8080"),
    ],
)
def test_a_configuration_says_where_it_is(server: str, base: str) -> None:
    Path("streamproxy.yml").write_text(f"server: {server}\n")

    assert str(resolve(None, None)[0]) == base


def test_the_token_of_the_configuration_goes_to_nobody_else() -> None:
    Path("streamproxy.yml").write_text("server: {api_token: abc}\n")

    assert resolve(None, None)[1] == "abc"
    assert resolve(None, "other")[1] == "other"
    assert resolve("http://127.0.0.1:8080", None)[1] is None


def test_a_port_that_nobody_knows_must_be_named() -> None:
    Path("streamproxy.yml").write_text("server: {port: 0}\n")

    with pytest.raises(click.UsageError, match="--base-url"):
        resolve(None, None)


def test_a_token_that_no_header_can_hold_is_refused_and_not_repeated() -> None:
    with pytest.raises(click.BadParameter) as caught:
        resolve("http://h", "secret\r\nX: y")

    assert "secret" not in caught.value.format_message()
