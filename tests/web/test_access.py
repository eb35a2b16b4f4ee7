"""Who may do what, by kind of route, by what is known, and by place."""

import ast
import inspect
import json
import socket
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from streamproxy.config.channels import RESERVED_NAMES
from streamproxy.server.app import make_app
from streamproxy.web import FACES, Face, Kind, kind_of, tokens, warn_if_open
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.guarded import (
    API_TOKEN,
    ELSEWHERE,
    HERE,
    IN_AN_ADDRESS,
    PROVIDER_URL,
    STREAM_TOKEN,
    doors,
    said,
)
from tests.helpers.proxy import config

CLOSED: dict[str, Any] = {"api_token": API_TOKEN, "stream_token": STREAM_TOKEN, "trusted_proxies": ["127.0.0.1"]}
OPEN: dict[str, Any] = {"trusted_proxies": ["127.0.0.1"]}

TRICKS = [
    "/Streams",
    "/streams/",
    "//streams",
    "/streams//",
    "/iptv//streams",
    "//iptv/streams",
    "/iptv/iptv/streams",
    "/%73treams",
    "/streams%2F",
    "/streams%2Fx",
    "/streams%00",
    "/streams;x",
    "/streams?",
    "/./streams",
    "/x/../streams",
    "/docs/../streams",
    "/stream/../streams",
    "/token/x/streams",
    "/token/x//streams",
    "/iptv/token/x/streams",
    "/hls/a/clients/b",
    "//hls//a//clients//b//",
    "/hls/a/clients%2Fb",
    "/streams/x",
    "/streams/x/",
    "http://h/streams",
    "http://h//streams",
    "http://h/iptv/streams",
    "HTTP://127.0.0.1/streams",
    "h/streams",
    "*",
    "/",
]
"""Paths that may lead to what changes things, for whoever reads them in another way than the guard."""

READ, WATCH, LOOK, CHANGE = ("/docs", "GET"), ("/stream/news.ts", "GET"), ("/streams", "GET"), ("/streams", "POST")
ROOT, NAMED, DELETE, ASK = ("/", "GET"), ("/news", "GET"), ("/hls/news/clients/x", "DELETE"), ("/hls/a/b", "OPTIONS")


def test_each_route_of_the_program_has_a_face() -> None:
    app = make_app("/iptv")

    assert {route for route in app.router.routes() if route not in app[FACES]} == set()


def test_no_stream_can_have_the_name_of_a_route_or_of_the_tokens_prefix() -> None:
    first = {resource.canonical.split("/")[1] for resource in make_app("").router.resources()}

    assert {name for name in first if name and "{" not in name} | {"token"} <= RESERVED_NAMES


def test_nothing_of_players_and_of_everybody_changes_anything() -> None:
    app = make_app("")
    open_doors = {route for route, face in app[FACES].items() if face is not Face.API}

    assert {route.method for route in open_doors} <= {"GET", "HEAD", "OPTIONS"}


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "PROPFIND", "get"])
@pytest.mark.parametrize("face", [*Face, None])
def test_every_method_that_is_not_known_to_be_harmless_changes_something(face: Face | None, method: str) -> None:
    assert kind_of(face, method) is Kind.CHANGING


@pytest.mark.parametrize(("face", "path"), [(Face.PUBLIC, "/docs"), (Face.MEDIA, "/stream/x"), (Face.API, "/streams")])
async def test_a_route_without_a_face_is_treated_as_if_it_changed_things(tmp_path: Path, face: Face, path: str) -> None:
    async with doors(tmp_path, forget=face, **OPEN) as door:
        assert (await door.knock_with(path, headers=HERE)).status == 200
        assert (await door.knock_with(path, headers=ELSEWHERE)).status == 403
    async with doors(tmp_path, forget=face, **CLOSED) as door:
        assert (await door.knock_with(path)).status == 401


X_API_TOKEN = {"X-API-Token": API_TOKEN}
WRONG = {"X-API-Token": "wrong"}


@pytest.mark.parametrize("root", ["", "/iptv"])
@pytest.mark.parametrize(
    ("what", "nothing", "wrong", "stream_token", "api_token"),
    [
        (READ, 200, 200, 200, 200),
        (ASK, 200, 200, 200, 200),
        (WATCH, 401, 403, 200, 200),
        (NAMED, 401, 403, 200, 200),
        (LOOK, 401, 403, 401, 200),
        (ROOT, 401, 403, 401, 200),
        (CHANGE, 401, 403, 401, 200),
        (DELETE, 401, 403, 401, 200),
    ],
)
async def test_who_knows_a_token_may_do_what_it_is_for_wherever_it_comes_from(
    tmp_path: Path, root: str, what: tuple[str, str], nothing: int, wrong: int, stream_token: int, api_token: int
) -> None:
    path, method = what
    known: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        ("", WRONG),
        (f"?token={IN_AN_ADDRESS}", {}),
        ("", X_API_TOKEN),
    ]
    async with doors(tmp_path, root_path=root, **CLOSED) as door:
        statuses = [
            [(await door.knock_with(root + path + query, method, place | headers)).status for query, headers in known]
            for place in (HERE, ELSEWHERE)
        ]

    assert statuses == [[nothing, wrong, stream_token, api_token]] * 2
    assert len(door.opened) == 2 * statuses[0].count(200)


@pytest.mark.parametrize("root", ["", "/iptv"])
@pytest.mark.parametrize(
    ("what", "here", "elsewhere"),
    [(READ, 200, 200), (WATCH, 200, 200), (NAMED, 200, 200), (LOOK, 200, 200), (CHANGE, 200, 403), (DELETE, 200, 403)],
)
async def test_without_tokens_everybody_looks_and_watches_and_only_this_machine_changes_things(
    tmp_path: Path, root: str, what: tuple[str, str], here: int, elsewhere: int
) -> None:
    path, method = what
    async with doors(tmp_path, root_path=root, **OPEN) as door:
        assert (await door.knock_with(root + path, method, HERE)).status == here
        assert (await door.knock_with(root + path, method)).status == here
        assert (await door.knock_with(root + path, method, ELSEWHERE)).status == elsewhere


async def test_a_refusal_to_change_things_says_what_to_do(tmp_path: Path) -> None:
    async with doors(tmp_path, **OPEN) as door:
        answer = await door.knock_with("/streams", "POST", ELSEWHERE)

    assert "server.api_token" in said(answer)
    assert "api.open" in said(answer)


async def test_everybody_changes_things_where_the_api_is_open(tmp_path: Path) -> None:
    async with doors(tmp_path, api_open=True, **OPEN) as door:
        assert (await door.knock_with("/streams", "POST", ELSEWHERE)).status == 200


async def test_an_open_api_with_a_token_asks_for_the_token(tmp_path: Path) -> None:
    async with doors(tmp_path, api_open=True, **CLOSED) as door:
        assert (await door.knock("/streams", "POST")).status == 401


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": ""},
        {"X-Real-IP": "127.0.0.1"},
        {"Forwarded": "for=127.0.0.1"},
        {"Via": "1.1 here"},
        {"X-Forwarded-Host": "localhost"},
        {"X-Forwarded-Proto": "http"},
    ],
)
async def test_what_came_through_a_proxy_that_nobody_trusts_is_not_from_this_machine(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with doors(tmp_path) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1, 192.0.2.7"},
        {"X-Forwarded-For": "192.0.2.7, 127.0.0.1"},
        {"X-Forwarded-For": "127.0.0.1, unknown"},
        {"X-Forwarded-For": "192.0.2.7:4711"},
        {"X-Forwarded-For": ","},
        {"X-Forwarded-For": "127.0.0.1", "X-Real-IP": "192.0.2.7"},
        {"X-Real-IP": "192.0.2.7"},
        {"Forwarded": "for=127.0.0.1"},
        {"X-Forwarded-Host": "localhost"},
    ],
)
async def test_a_trusted_proxy_speaks_for_this_machine_only_if_it_names_nobody_else(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with doors(tmp_path, trusted_proxies=["127.0.0.0/8", "192.0.2.0/24"]) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 403


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Forwarded-For": "127.0.0.1"},
        {"X-Forwarded-For": "::1, 127.0.0.2"},
        {"X-Forwarded-For": "::ffff:127.0.0.1"},
        {"X-Real-IP": "127.0.0.1"},
        {"X-Forwarded-For": "127.0.0.1", "Forwarded": "for=127.0.0.1", "Via": "1.1 here"},
    ],
)
async def test_somebody_on_this_machine_may_come_through_a_trusted_proxy(
    tmp_path: Path, headers: dict[str, str]
) -> None:
    async with doors(tmp_path, **OPEN) as door:
        assert (await door.knock_with("/streams", "POST", headers)).status == 200


@pytest.mark.parametrize("what", [READ, WATCH, LOOK, CHANGE, ASK, ("/a/b/c", "GET"), ("/docs", "POST")])
async def test_whoever_comes_from_another_network_may_nothing_whatever_it_knows(
    tmp_path: Path, what: tuple[str, str]
) -> None:
    async with doors(tmp_path, allowed_networks=["10.0.0.0/8"], **CLOSED) as door:
        answer = await door.knock_with(f"{what[0]}?token={IN_AN_ADDRESS}", what[1], X_API_TOKEN)

    assert (answer.status, door.opened) == (403, [])
    assert "server.allowed_networks" in said(answer)


@pytest.mark.parametrize("forwarded", ["10.1.2.3", "192.0.2.7, 10.1.2.3", "::ffff:10.1.2.3"])
async def test_whoever_comes_from_an_allowed_network_gets_in(tmp_path: Path, forwarded: str) -> None:
    async with doors(tmp_path, allowed_networks=["10.0.0.0/8"], **OPEN) as door:
        assert (await door.knock("/docs", X_Forwarded_For=forwarded)).status == 200


@pytest.mark.parametrize("forwarded", ["unknown", "10.1.2.3, unknown", "10.1.2.3:4711", "[::1]:4711"])
async def test_whose_address_a_trusted_proxy_garbles_is_not_taken_for_the_proxy(tmp_path: Path, forwarded: str) -> None:
    async with doors(tmp_path, allowed_networks=["10.0.0.0/8", "127.0.0.1"], **OPEN) as door:
        assert (await door.knock("/docs", X_Forwarded_For=forwarded)).status == 403
        assert (await door.knock("/docs")).status == 200


async def test_an_address_that_nobody_vouches_for_opens_nothing(tmp_path: Path) -> None:
    async with doors(tmp_path, allowed_networks=["10.0.0.0/8"]) as door:
        assert (await door.knock("/docs", X_Forwarded_For="10.1.2.3")).status == 403


async def test_a_missing_api_token_is_answered_as_m3u_proxys_clients_know_it(tmp_path: Path) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        missing, wrong = await door.knock("/streams"), await door.knock("/streams", X_API_Token="no")

    text = "API token required. Provide token via X-API-Token header or api_token query parameter."
    assert (missing.status, said(missing), missing.headers["www-authenticate"]) == (401, text, "Bearer")
    assert (wrong.status, said(wrong)) == (403, "Invalid API token")


async def test_a_missing_stream_token_is_answered_in_its_own_words(tmp_path: Path) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        missing, wrong = await door.knock("/stream/a"), await door.knock("/stream/a?token=no")

    assert (missing.status, missing.headers["www-authenticate"]) == (401, "Bearer")
    assert said(missing).startswith("Stream token required")
    assert (wrong.status, said(wrong)) == (403, "Invalid stream token")


GOOD = f"?api_token={API_TOKEN}"


API_TOKENS: list[tuple[str, dict[str, str], int]] = [
    ("", {"X-API-Token": API_TOKEN}, 200),
    ("", {"x-api-token": API_TOKEN}, 200),
    ("", {"Authorization": f"Bearer {API_TOKEN}"}, 200),
    ("", {"authorization": f"bearer  {API_TOKEN} "}, 200),
    (GOOD, {}, 200),
    ("?api_token=%61pi-s3cret", {}, 200),
    (GOOD, {"X-API-Token": "wrong"}, 403),
    (GOOD, {"Authorization": "Bearer wrong"}, 403),
    ("?api_token=wrong", {"X-API-Token": API_TOKEN, "Authorization": "Bearer wrong"}, 200),
    (GOOD, {"X-API-Token": ""}, 200),
    (GOOD, {"Authorization": "Basic bm9ib2R5OnJlYWxseQ=="}, 200),
    (GOOD + "&api_token=wrong", {}, 200),
    ("?api_token=wrong&api_token=" + API_TOKEN, {}, 403),
    ("", {"Authorization": API_TOKEN}, 401),
    ("", {"Authorization": f"Basic {API_TOKEN}"}, 401),
    ("", {"Authorization": "Bearer"}, 401),
    ("", {"Authorization": "Bearer "}, 401),
    ("?api_token=", {}, 401),
    ("?token=" + API_TOKEN, {}, 401),
    ("?API_TOKEN=" + API_TOKEN, {}, 401),
    ("?api_token=" + API_TOKEN.upper(), {}, 403),
    ("?api_token=" + API_TOKEN[:-1], {}, 403),
    ("?api_token=" + API_TOKEN + "x", {}, 403),
    ("?api_token=" + API_TOKEN + "%00", {}, 403),
    ("?api_token=%FF%FE", {}, 403),
    ("?api_token=%ED%B2%80", {}, 403),
    ("?api_token=%zz", {}, 403),
    ("", {"X-API-Token": "é"}, 403),
    ("", {"X-API-Token": "\xff\xfe\x80"}, 403),
    ("", {"X-API-Token": API_TOKEN + "\xa0"}, 403),
]


async def test_the_api_token_is_taken_from_the_first_place_that_has_one(tmp_path: Path) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        for query, headers, status in API_TOKENS:
            door.opened.clear()
            assert (await door.knock_with(f"/streams{query}", "POST", headers)).status == status, (query, headers)
            assert door.opened == (["change"] if status == 200 else [])


def test_tokens_are_compared_in_a_time_that_tells_nothing() -> None:
    tree = ast.parse(inspect.getsource(tokens))
    compared = [node for node in ast.walk(tree) if isinstance(node, ast.Attribute) and node.attr == "compare_digest"]
    comparisons = [op for node in ast.walk(tree) if isinstance(node, ast.Compare) for op in node.ops]

    assert len(compared) == 1
    # `scheme.lower() == "bearer"` is the only one, and no secret.
    assert sum(isinstance(op, ast.Eq | ast.NotEq | ast.In | ast.NotIn) for op in comparisons) == 1


@given(offered=st.text(), token=st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E), min_size=1))
def test_any_text_can_be_compared_and_only_the_token_is_the_token(offered: str, token: str) -> None:
    assert tokens.matches(tokens.as_bytes(offered), token) is (offered == token)
    assert tokens.matches(tokens.as_bytes(token), token)


PATHS = [
    (f"/stream/a?token={IN_AN_ADDRESS}", 200),
    (f"/token/{IN_AN_ADDRESS}/stream/a", 200),
    (f"/token/{IN_AN_ADDRESS}//stream/a/", 200),
    (f"//token/{IN_AN_ADDRESS}/stream/a", 200),
    (f"/iptv/token/{IN_AN_ADDRESS}/stream/a", 200),
    (f"/token/{IN_AN_ADDRESS}/iptv/stream/a", 200),
    (f"/token/wrong/stream/a?token={IN_AN_ADDRESS}", 200),
    (f"/stream/a?api_token={API_TOKEN}", 200),
    ("/token/%77atch%2fs3cret%25%3f%23/stream/a", 200),
    (f"http://h/token/{IN_AN_ADDRESS}/stream/a", 200),
    ("/stream/a", 401),
    ("/stream/a?token=", 401),
    ("/token/stream/a", 403),
    ("/token//stream/a", 403),
    ("/token/wrong/stream/a", 403),
    ("/token/%00/stream/a", 403),
    ("/token/%FF/stream/a", 403),
    ("/token/%ED%B2%80/stream/a", 403),
    ("/token/%zz/stream/a", 403),
    ("/token/../stream/a", 403),
    ("/token/%2e%2e/stream/a", 403),
    ("/token/watch/s3cret%25%3F%23/stream/a", 404),
    (f"/token/{IN_AN_ADDRESS}x/stream/a", 403),
    (f"/token/{IN_AN_ADDRESS}%00/stream/a", 403),
    (f"/token/{API_TOKEN}/stream/a", 403),
    (f"/token/wrong/token/{IN_AN_ADDRESS}/stream/a", 404),
    (f"/stream/a?token=wrong&token={IN_AN_ADDRESS}", 403),
    (f"/token%2F{IN_AN_ADDRESS}/stream/a", 404),
    (f"/Token/{IN_AN_ADDRESS}/stream/a", 404),
    ("/token", 401),
    ("/token/", 401),
    (f"/token/{IN_AN_ADDRESS}", 404),
    (f"/token/{IN_AN_ADDRESS}/", 404),
    (f"/token/{IN_AN_ADDRESS}/docs", 404),
    (f"/token/{IN_AN_ADDRESS}/streams", 404),
    (f"/token/{IN_AN_ADDRESS}/streams?api_token={API_TOKEN}", 404),
    (f"/token/{IN_AN_ADDRESS}/nothing/like/that", 404),
    ("/token/wrong/nothing/like/that", 404),
]


async def test_the_stream_token_may_stand_before_the_path_of_media(tmp_path: Path) -> None:
    async with doors(tmp_path, root_path="/iptv", **CLOSED) as door:
        for path, status in PATHS:
            door.opened.clear()
            assert (await door.knock(path)).status == status, path
            assert door.opened == (["watch"] if status == 200 else [])


@pytest.mark.parametrize("path", [f"/token/{IN_AN_ADDRESS}/stream/a", "/token/x/stream/a", "/token/None/stream/a"])
async def test_where_there_is_no_stream_token_its_prefix_is_a_path_like_any_other(tmp_path: Path, path: str) -> None:
    async with doors(tmp_path) as door:
        answer, other = await door.knock(path), await door.knock("/other/x/stream/a")

    assert (answer.status, answer.body) == (404, b'{"detail": "Not Found"}') == (other.status, other.body)


@pytest.mark.parametrize("method", ["POST", "DELETE", "PUT"])
async def test_the_stream_token_changes_nothing(tmp_path: Path, method: str) -> None:
    async with doors(tmp_path, stream_token=STREAM_TOKEN, **OPEN) as door:
        for path in ("/streams", "/streams/x", "/hls/a/clients/b"):
            for target in (f"/token/{IN_AN_ADDRESS}{path}", f"{path}?token={IN_AN_ADDRESS}"):
                answer = await door.knock_with(target, method, ELSEWHERE)
                assert answer.status in (403, 404, 405)

    assert door.opened == []


@pytest.mark.parametrize(
    ("path", "status"), [("/token", 405), ("/iptv/token", 405), ("/token/", 404), ("/iptv//token/", 404)]
)
async def test_the_prefix_without_a_token_is_a_path_like_any_other(tmp_path: Path, path: str, status: int) -> None:
    async with doors(tmp_path, root_path="/iptv", **CLOSED) as door:
        assert (await door.knock(path, "POST")).status == status


async def test_the_rest_of_a_path_and_the_query_behind_the_token_stay_as_they_are(tmp_path: Path) -> None:
    async with doors(tmp_path, stream_token=STREAM_TOKEN) as door:
        answer = await door.knock(f"/token/{IN_AN_ADDRESS}/stream/a%2Fb%25%FF?u=%2B%20x&v")

    told = json.loads(answer.body)
    assert (told["query"], told["id"]) == ("u=%2B x&v", "a/b%%FF")


@pytest.mark.parametrize(
    ("path", "headers", "ending"),
    [
        (f"/stream/a?token={IN_AN_ADDRESS}", {}, f"/iptv/token/{IN_AN_ADDRESS}"),
        (f"/token/{IN_AN_ADDRESS}/stream/a", {}, f"/iptv/token/{IN_AN_ADDRESS}"),
        ("/stream/a", X_API_TOKEN, f"/iptv/token/{IN_AN_ADDRESS}"),
        ("/streams", X_API_TOKEN, f"/iptv/token/{IN_AN_ADDRESS}"),
        ("/docs", {}, "/iptv"),
    ],
)
async def test_the_address_of_the_program_holds_the_stream_token_for_those_who_know_one(
    tmp_path: Path, path: str, headers: dict[str, str], ending: str
) -> None:
    async with doors(tmp_path, root_path="/iptv", **CLOSED) as door:
        answer = await door.knock_with(path, headers=headers)
        assert json.loads(answer.body)["base"] == f"http://127.0.0.1:{door.proxy.port}{ending}"


async def test_who_may_look_without_a_token_does_not_learn_the_stream_token(tmp_path: Path) -> None:
    async with doors(tmp_path, stream_token=STREAM_TOKEN) as door:
        assert "token/" not in json.loads((await door.knock("/streams")).body)["base"]


@pytest.mark.parametrize(
    ("server", "headers", "shown"),
    [
        (CLOSED, X_API_TOKEN, PROVIDER_URL),
        (CLOSED, {}, "http://origin.example…"),
        (CLOSED, WRONG, "http://origin.example…"),
        (OPEN, {}, "http://origin.example…"),
        (OPEN, X_API_TOKEN, "http://origin.example…"),
    ],
)
async def test_the_addresses_of_providers_are_for_those_who_know_the_api_token(
    tmp_path: Path, server: dict[str, Any], headers: dict[str, str], shown: str
) -> None:
    async with doors(tmp_path, **server) as door:
        told = json.loads((await door.knock_with("/docs", headers=headers)).body)

    assert (told["shown"], told["authenticated"]) == (shown, shown == PROVIDER_URL)


@pytest.mark.parametrize("server", [{}, {"stream_token": "x"}, {"api_token": API_TOKEN}, CLOSED])
async def test_no_path_leads_around_the_guard(tmp_path: Path, server: dict[str, Any]) -> None:
    async with doors(tmp_path, root_path="/iptv", **(OPEN | server)) as door:
        for path in TRICKS:
            for method in ("POST", "DELETE", "PATCH", "post"):
                answer = await door.knock_with(path, method, ELSEWHERE)
                assert answer.status >= 400, (method, path)

    assert door.opened == []


@pytest.mark.parametrize("path", ["/streams/", "//streams", "/iptv//streams", "//iptv///streams//"])
async def test_who_may_change_things_may_write_the_path_with_more_slashes(tmp_path: Path, path: str) -> None:
    async with doors(tmp_path, root_path="/iptv", **CLOSED) as door:
        assert (await door.knock(path, "POST", X_API_Token=API_TOKEN)).status == 200

    assert door.opened == ["change"]


HOSTILE = [
    b"POST /streams?api_token=" + b"x" * (1 << 20) + b" HTTP/1.1\r\nHost: h\r\n",
    b"POST /token/" + b"x" * (1 << 20) + b"/streams HTTP/1.1\r\nHost: h\r\n",
    b"POST /streams HTTP/1.1\r\nHost: h\r\nX-API-Token: " + b"x" * (1 << 20) + b"\r\n",
    b"POST /streams HTTP/1.1\r\nHost: h\r\nX-API-Token: a\x00b\r\n",
    b"POST /streams HTTP/1.1\r\nHost: h\r\nX-API-Token: \xff\xfe\x80\r\n",
    b"POST /streams HTTP/1.1\r\nHost: h\r\nX-API-Token: wrong\r\nX-API-Token: " + API_TOKEN.encode() + b"\r\n",
    b"POST /token/\xff\x80/streams HTTP/1.1\r\nHost: h\r\n",
    b"POST /token/\x00/streams HTTP/1.1\r\nHost: h\r\n",
    b"POST /streams?api_token=\xff HTTP/1.1\r\nHost: h\r\n",
    b"POST /streams HTTP/1.0\r\n",
    b"POST http://127.0.0.1/streams HTTP/1.1\r\nHost: h\r\n",
    b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\n",
]


async def test_hostile_tokens_are_wrong_tokens(tmp_path: Path) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        for head in HOSTILE:
            status = await door.send(head + b"Content-Length: 0\r\nConnection: close\r\n\r\n")
            assert status in (0, 400, 401, 403, 404), head[:80]
        alive = await door.knock("/docs")

    assert (alive.status, door.opened) == (200, ["read"])


@pytest.mark.parametrize("headers", [{}, {"Origin": "http://evil.example"}])
async def test_the_api_is_no_business_of_web_pages_of_others(tmp_path: Path, headers: dict[str, str]) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        answers = [
            await door.knock_with("/streams", "GET", headers | X_API_TOKEN),
            await door.knock_with("/streams", "GET", headers),
            await door.knock_with("/streams", "OPTIONS", headers | {"Access-Control-Request-Method": "POST"}),
        ]

    assert [answer.status for answer in answers] == [200, 401, 405]
    assert not [name for answer in answers for name in answer.headers if name.startswith("access-control")]


def test_an_api_that_is_open_to_everybody_is_worth_a_warning(tmp_path: Path) -> None:
    with structlog.testing.capture_logs() as lines:
        warn_if_open(config(tmp_path, api={"open": True}))
    assert [(line["event"], line["log_level"]) for line in lines] == [("api_open_to_everybody", "warning")]

    with structlog.testing.capture_logs() as lines:
        warn_if_open(config(tmp_path, api={"open": True}, server={"api_token": "x"}))
        warn_if_open(config(tmp_path))
    assert lines == []


async def test_a_handler_that_fails_is_logged_without_the_token(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with doors(tmp_path, **CLOSED) as door:
        answer = await door.knock(f"/token/{IN_AN_ADDRESS}/broken/x")

    assert (answer.status, "RuntimeError: broken" in caplog.text) == (500, True)
    assert "s3cret" not in caplog.text + answer.body.decode()


CHANGE_SOMETHING = b"POST /streams HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nConnection: close\r\n"


async def test_another_address_of_this_machine_is_elsewhere(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way_out:
        try:
            way_out.connect(("192.0.2.1", 9))  # nothing is sent
        except OSError:
            pytest.skip("this machine has no other address")
        host = way_out.getsockname()[0]
    async with doors(tmp_path, address=host, allowed_networks=[host]) as door:
        assert await door.send(CHANGE_SOMETHING + b"\r\n", host=host) == 403
        assert await door.send(CHANGE_SOMETHING + b"X-Forwarded-For: 127.0.0.1\r\n\r\n", host=host) == 403
        assert await door.send(CHANGE_SOMETHING.replace(b"POST", b"GET") + b"\r\n", host=host) == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
async def test_this_machine_is_known_by_each_of_its_loopback_addresses(tmp_path: Path, host: str) -> None:
    try:
        async with doors(tmp_path, address=host) as door:
            assert await door.send(CHANGE_SOMETHING + b"\r\n", host=host) == 200
    except OSError:
        pytest.skip(f"this machine has no {host}")
