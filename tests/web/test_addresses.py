"""Under which address a client reaches the program, whoever claims what."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.proxy import config, running

FORWARDED = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "tv.example", "X-Forwarded-Prefix": "/iptv"}


async def base(folder: Path, headers: dict[str, str], path: str = "/playlist.m3u", **server: Any) -> str:
    settings = config(folder, streams={"a": "http://h/1.ts"}, server=server)
    async with running(settings) as proxy:
        body = (await proxy.get(path, headers=headers)).body.decode()
        return body.splitlines()[2].removesuffix("/stream/a.ts").replace(str(proxy.port), "PORT")


@pytest.mark.parametrize("host", ["tv.local", "tv.local:8080", "192.0.2.1:81", "[2001:db8::1]:8080"])
async def test_the_host_that_the_client_asked_for_is_used(tmp_path: Path, host: str) -> None:
    assert await base(tmp_path, {"Host": host}) == f"http://{host}"


@pytest.mark.parametrize("host", ["", "a b", 'x"y', "x/y", "x\\y", "user@h", "h:port", "<script>"])
async def test_a_host_that_is_none_is_replaced_by_the_address_of_the_connection(tmp_path: Path, host: str) -> None:
    assert await base(tmp_path, {"Host": host}) == "http://127.0.0.1:PORT"


async def test_an_absolute_request_target_is_not_believed(tmp_path: Path) -> None:
    assert await base(tmp_path, {"Host": "tv.local"}, "http://evil.example/playlist.m3u") == "http://tv.local"


async def test_the_configured_address_wins_over_everything(tmp_path: Path) -> None:
    server: dict[str, Any] = {"public_url": "https://tv.example/x", "trusted_proxies": ["127.0.0.1"], "root_path": "/y"}

    assert await base(tmp_path, FORWARDED, **server) == "https://tv.example/x"


async def test_a_trusted_proxy_is_believed(tmp_path: Path) -> None:
    assert await base(tmp_path, FORWARDED, trusted_proxies=["127.0.0.0/8"]) == "https://tv.example/iptv"


async def test_nobody_else_is_believed(tmp_path: Path) -> None:
    headers = {**FORWARDED, "Host": "tv.local"}

    assert await base(tmp_path, headers, trusted_proxies=["192.0.2.1"]) == "http://tv.local"


async def test_a_trusted_proxys_port_is_added_where_the_host_has_none(tmp_path: Path) -> None:
    headers = {"X-Forwarded-Host": "tv.example", "X-Forwarded-Port": "8443", "X-Forwarded-Proto": "https"}

    assert await base(tmp_path, headers, trusted_proxies=["127.0.0.1"]) == "https://tv.example:8443"


@pytest.mark.parametrize(
    "headers",
    [{"X-Forwarded-Proto": "javascript"}, {"X-Forwarded-Prefix": "/a b"}, {"X-Forwarded-Prefix": "//evil.example"}],
)
async def test_nonsense_from_a_trusted_proxy_is_ignored(tmp_path: Path, headers: dict[str, str]) -> None:
    headers = {**headers, "Host": "tv.local"}

    assert await base(tmp_path, headers, trusted_proxies=["127.0.0.1"]) == "http://tv.local"
