"""What web pages may do through the browser of somebody on this machine."""

from pathlib import Path
from typing import Any

import pytest

from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.guarded import API_TOKEN, doors, said

PUBLIC = {"public_url": "https://tv.example/iptv"}
BEHIND = {"trusted_proxies": ["127.0.0.1"]}


@pytest.mark.parametrize(
    ("headers", "server"),
    [
        ({}, {}),
        ({"Host": "localhost:8080", "Origin": "http://localhost:8080", "Sec-Fetch-Site": "same-origin"}, {}),
        ({"Host": "localhost", "Origin": "http://localhost"}, {}),
        ({"Host": "localhost", "Origin": "http://localhost:80"}, {}),
        ({"Host": "LOCALHOST.:80"}, {}),
        ({"Host": "127.0.0.1:8080", "Sec-Fetch-Site": "none"}, {}),
        ({"Host": "192.168.1.2:8080", "Origin": "http://192.168.1.2:8080"}, {}),
        ({"Host": "[::1]:8080", "Origin": "http://[::1]:8080"}, {}),
        ({"Host": "tv.example", "Origin": "https://tv.example"}, PUBLIC),
        ({"Host": "TV.example:443", "Origin": "https://tv.example:443"}, PUBLIC),
        ({"Host": "127.0.0.1:8080", "Origin": "https://tv.example"}, PUBLIC),
        ({"Host": "tv.local:8080"}, {"host": "tv.local"}),
        (
            {"X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "localhost:81", "Origin": "http://localhost:81"},
            BEHIND,
        ),
    ],
)
async def test_what_pages_of_others_cannot_have_sent_is_done(
    tmp_path: Path, headers: dict[str, str], server: dict[str, Any]
) -> None:
    async with doors(tmp_path, **server) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 200


@pytest.mark.parametrize(
    ("headers", "server"),
    [
        ({"Origin": "http://evil.example"}, {}),
        ({"Host": "localhost", "Origin": "http://evil.localhost"}, {}),
        ({"Host": "localhost:8080", "Origin": "http://localhost:3000"}, {}),
        ({"Host": "localhost:8080", "Origin": "http://localhost"}, {}),
        ({"Host": "localhost", "Origin": "http://localhost@evil.example"}, {}),
        ({"Host": "localhost", "Origin": "http://localhost.evil.example"}, {}),
        ({"Origin": "null"}, {}),
        ({"Origin": ""}, {}),
        ({"Origin": "file://"}, {}),
        ({"Origin": "null"}, PUBLIC),
        ({"Origin": "https://tv.example:8443"}, PUBLIC),
        ({"Sec-Fetch-Site": "cross-site"}, {}),
        ({"Sec-Fetch-Site": "Cross-Site"}, {}),
        ({"Sec-Fetch-Site": "same-site"}, {}),
        ({"Sec-Fetch-Site": "anything"}, {}),
        ({"Host": "evil.example"}, {}),
        ({"Host": "evil.example", "Origin": "http://evil.example", "Sec-Fetch-Site": "same-origin"}, {}),
        ({"Host": "evil.example:8080"}, PUBLIC),
        ({"Host": "127.0.0.1.evil.example"}, {}),
        ({"Host": "localhost.evil.example"}, {}),
        ({"Host": "2130706433"}, {}),
        ({"Host": "localhost@evil.example"}, {}),
        ({"Host": "evil.example", "X-Forwarded-Host": "localhost", "X-Forwarded-For": "127.0.0.1"}, BEHIND),
        ({"X-Forwarded-Host": "evil.example", "X-Forwarded-For": "127.0.0.1"}, BEHIND),
        ({"X-Forwarded-Host": "localhost, evil.example", "X-Forwarded-For": "127.0.0.1"}, BEHIND),
    ],
)
async def test_what_a_page_of_another_host_may_have_sent_is_refused(
    tmp_path: Path, headers: dict[str, str], server: dict[str, Any]
) -> None:
    async with doors(tmp_path, **server) as door:
        answer = await door.knock_with("/streams", "POST", headers)
        looking = await door.knock_with("/streams", "GET", headers)

    assert (answer.status, looking.status, door.opened) == (403, 200, ["look"])
    assert "server.public_url" in said(answer)


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example"},
        {"Origin": "http://evil.example"},
        {"Origin": "http://localhost:3000", "X-Forwarded-Host": "localhost:3000"},
    ],
)
async def test_an_api_that_is_open_to_everybody_is_not_open_to_their_pages(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with doors(tmp_path, api_open=True) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 403


async def test_who_knows_the_token_may_come_from_any_page_and_by_any_name(tmp_path: Path) -> None:
    headers = {"Host": "tv.lan", "Origin": "http://panel.lan", "Sec-Fetch-Site": "cross-site", "X-API-Token": API_TOKEN}
    async with doors(tmp_path, api_token=API_TOKEN) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 200
