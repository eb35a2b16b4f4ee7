"""HTTP towards servers that are well, ill, and not what they should be."""

import socket
import time

import click
import pytest

from streamproxy.cli.client.address import Address, parse
from streamproxy.cli.client.api import LARGEST, Api
from streamproxy.cli.client.failures import NotAllowed, Refused, Unreachable
from tests.cli.client.fake import EVENT_STREAM, Fake, Reply, raw, resets, says, sends

TOKEN = "correct-horse"


def api(fake: Fake, timeout: float = 5) -> Api:
    return Api(parse(fake.url), TOKEN, timeout=timeout, silence=timeout)


def test_a_request_is_sent_with_token_query_and_body(fake: Fake) -> None:
    fake.on("POST /a%2Fb%3F/%C3%A4?x=1%262", says({"done": 1}))

    assert api(fake).call("POST", "a/b?", "ä", query={"x": "1&2"}, body={"u": "ä"}) == {"done": 1}

    (request,) = fake.requests
    assert request.document == {"u": "ä"}
    assert request.headers["x-api-token"] == TOKEN
    assert request.headers["content-type"] == "application/json"


def test_the_path_of_the_base_stands_before_every_other(fake: Fake) -> None:
    fake.on("POST /m3u-proxy/streams", says([]))

    assert Api(parse(f"{fake.url}/m3u-proxy/")).call("POST", "streams") == []
    assert fake.requests[0].headers["content-length"] == "0"
    assert "x-api-token" not in fake.requests[0].headers


@pytest.mark.parametrize(
    ("reply", "message"),
    [
        (says({"detail": "Stream not found"}, 404), "Stream not found"),
        (sends(500, b"<html>oh"), "the server answered 500 Internal Server Error"),
        (says({"detail": {"a": 1}}, 500), "the server answered 500 Internal Server Error"),
        (says({"detail": "\x1b[2Jgone"}, 500), r"\x1b[2Jgone"),
        (says({"detail": f"your token is {TOKEN}"}, 400), "your token is …"),
        (raw(b"HTTP/1.1 500 \x1b[2J\r\nContent-Length: 0\r\n\r\n"), r"the server answered 500 \x1b[2J"),
        (sends(302, b"", location="http://elsewhere/"), "redirects are not followed"),
        (sends(200, b"<html>"), "not JSON"),
        (sends(200, b""), "not JSON"),
        (sends(200, b"[" * 100_000), "not JSON"),
        (sends(200, b'{"a": NaN}'), "not JSON"),
        (sends(200, b"[1e999]"), "not JSON"),
        (sends(200, b"[" + b"9" * 10_000 + b"]"), "not JSON"),
        (sends(200, b"\xff\xfe\x00"), "not JSON"),
    ],
)
def test_what_is_no_success_is_told(fake: Fake, reply: Reply, message: str) -> None:
    fake.on("GET /x", reply)

    with pytest.raises(Refused) as caught:
        api(fake).call("GET", "x")

    assert message in caught.value.message
    assert caught.value.exit_code == 1


def test_mistakes_are_told_by_field_without_what_was_sent(fake: Fake) -> None:
    detail = [
        {
            "type": "value_error",
            "loc": ["body", "url"],
            "msg": "Value error, URL must use HTTP",
            "input": "rtmp://secret",
        },
        {"loc": ["body", "failover_urls", 1], "msg": "Input should be a valid string"},
        {"loc": ["body"], "msg": "Field required"},
        "\x1b",
        7,
        {"loc": 3, "msg": ["x"]},
    ]
    fake.on("POST /streams", says({"detail": detail}, 422))

    with pytest.raises(Refused) as caught:
        api(fake).call("POST", "streams", body={})

    assert caught.value.message.splitlines() == [
        "url: URL must use HTTP",
        "failover_urls.1: Input should be a valid string",
        "Field required",
        r"\x1b",
        "7",
    ]


@pytest.mark.parametrize("status", [401, 403])
def test_a_missing_or_wrong_token_is_an_error_of_its_own(fake: Fake, status: int) -> None:
    fake.on("GET /x", says({"detail": f"Invalid API token {TOKEN}"}, status))

    with pytest.raises(NotAllowed) as caught:
        api(fake).call("GET", "x")

    assert caught.value.exit_code == 77
    assert caught.value.message.startswith("Invalid API token …\n")
    assert "--token" in caught.value.message


@pytest.mark.parametrize(
    "reply",
    [
        resets,
        raw(b""),
        raw(b"SSH-2.0-x\r\n"),
        raw(b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200 + b"\r\n"),
        raw(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n[1]"),
        raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n[1]"),
    ],
    ids=["reset", "nothing", "no HTTP", "too many headers", "cut off", "bad chunks"],
)
def test_a_broken_answer_is_no_connection(fake: Fake, reply: Reply) -> None:
    fake.on("GET /x", reply)

    with pytest.raises(Unreachable) as caught:
        api(fake).call("GET", "x")

    assert caught.value.exit_code == 69
    assert "--base-url" in caught.value.message


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\nA: ", HEAD + b"\r\n", HEAD + b"Content-Length: 9999\r\n\r\n"]
)
@pytest.mark.parametrize("how", ["hangs", "trickles"])
def test_an_answer_that_does_not_come_to_an_end_is_given_up(fake: Fake, head: bytes, how: str) -> None:
    fake.on("GET /x", fake.hangs(head) if how == "hangs" else fake.trickles(head))

    with pytest.raises(Unreachable, match="does not answer in time"):
        api(fake, timeout=0.2).call("GET", "x")


def test_nobody_there_is_no_connection() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]

    with pytest.raises(Unreachable, match="Connection refused") as caught:
        Api(Address(False, "127.0.0.1", port, "")).call("GET", "x")

    assert "STREAMPROXY_BASE_URL" in caught.value.message


@pytest.mark.parametrize("host", ["a..b", "x" * 70])
def test_a_host_that_cannot_be_is_no_connection(host: str) -> None:
    with pytest.raises(Unreachable, match="no such host"):
        Api(Address(False, host, 80, "")).call("GET", "x")


def test_tls_towards_a_server_without_is_no_connection(fake: Fake) -> None:
    with pytest.raises(Unreachable, match="http or https"):
        Api(Address(True, "127.0.0.1", fake.port, "")).call("GET", "x")


def test_long_answers_are_read_and_endless_ones_are_not(fake: Fake) -> None:
    fake.on("GET /long", sends(200, b'["' + b"x" * 10_000_000 + b'"]'))
    fake.on("GET /endless", sends(200, b" " * (LARGEST + 1)))

    assert len(api(fake).call("GET", "long")[0]) == 10_000_000
    with pytest.raises(Refused, match="longer than 64 MiB"):
        api(fake).call("GET", "endless")


def test_a_long_message_is_cut(fake: Fake) -> None:
    fake.on("GET /x", says({"detail": "x" * 10_000_000}, 500))

    with pytest.raises(Refused) as caught:
        api(fake).call("GET", "x")

    assert len(caught.value.message) == 2000


def test_proxies_of_the_environment_are_not_used(fake: Fake, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    fake.on("GET /x", says(1))

    assert api(fake).call("GET", "x") == 1


def test_events_come_as_they_are_sent(fake: Fake) -> None:
    fake.on("GET /events", raw(EVENT_STREAM + b"data: 1\n\n"))

    assert b"".join(api(fake).events("7")) == b"data: 1\n\n"
    assert fake.requests[0].headers["last-event-id"] == "7"
    assert fake.requests[0].headers["x-api-token"] == TOKEN


def test_a_stream_of_events_may_last_longer_than_an_answer(fake: Fake) -> None:
    fake.on("GET /events", fake.trickles(EVENT_STREAM))
    pieces = Api(parse(fake.url), timeout=0.2, silence=5).events(None)

    begun = time.monotonic()
    while time.monotonic() < begun + 0.3:
        next(pieces)


def test_a_stream_of_events_may_not_be_silent(fake: Fake) -> None:
    fake.on("GET /events", fake.hangs(EVENT_STREAM + b": hello\n"))
    pieces = Api(parse(fake.url), timeout=5, silence=0.1).events(None)

    assert next(pieces) == b""
    assert next(pieces) == b": hello\n"
    with pytest.raises(Unreachable, match="in time"):
        next(pieces)


@pytest.mark.parametrize(
    ("reply", "error"),
    [(says({"detail": "no"}, 404), Refused), (says({"detail": "no"}, 401), NotAllowed), (says([]), Refused)],
)
def test_an_answer_that_is_no_stream_of_events_is_refused(
    fake: Fake, reply: Reply, error: type[click.ClickException]
) -> None:
    fake.on("GET /events", reply)

    with pytest.raises(error):
        list(api(fake).events(None))
