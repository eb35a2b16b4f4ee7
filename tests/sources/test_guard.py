"""Addresses that were given by strangers, with ears at all the places they must not lead to."""

import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from functools import partial

import pytest
from aiohttp.resolver import AsyncResolver

from streamproxy.config import OptionsConfig, RelayConfig
from streamproxy.errors import UpstreamError, UpstreamUnreachable
from streamproxy.model import Upstream
from streamproxy.sources import guard
from streamproxy.sources.client import Client
from streamproxy.sources.hls import HlsSource
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.dns import Addresses, name_server
from tests.helpers.hls_origin import Jumps, Recorder, hls_origin, media
from tests.helpers.origin import OK, Exchange, origin
from tests.helpers.scripts import redirects, sends

FORBIDDEN = "leads to this machine or its neighbourhood, which api.local_urls forbids"
SECRET = "s3cr3t"


class Ear:
    """Listens, and knows whether anybody tried to connect."""

    def __init__(self, raw: socket.socket) -> None:
        self._raw = raw
        self.port: int = raw.getsockname()[1]

    @property
    def heard(self) -> bool:
        self._raw.setblocking(False)
        try:
            self._raw.accept()[0].close()
        except BlockingIOError:
            return False
        return True


@pytest.fixture
def ear() -> Iterator[Ear]:
    """Listen on all addresses of this machine, of both kinds."""
    with socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True) as raw:
        yield Ear(raw)


@pytest.fixture
def outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make 127.0.0.1 stand for a place on the internet; all others are what they are."""
    real = guard.leads_home
    monkeypatch.setattr(guard, "leads_home", lambda family, address: address != "127.0.0.1" and real(family, address))


@pytest.fixture
def inside() -> Iterator[Ear]:
    """Listen on 127.0.0.2, which stands for this machine then."""
    with socket.create_server(("127.0.0.2", 0)) as raw:
        yield Ear(raw)


@pytest.fixture
async def names(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[dict[str, Addresses]]:
    """Say what a name server answers; the system then knows what is no name at all, such as 0x7f.1."""
    known: dict[str, Addresses] = {}
    async with name_server(known) as server:
        cares = partial(AsyncResolver, nameservers=["127.0.0.1"], udp_port=server.port, tcp_port=server.port)
        monkeypatch.setattr("streamproxy.sources.resolver.AsyncResolver", cares)
        yield known


def given(url: str, label: str = "tv") -> Upstream:
    return Upstream(url, label, foreign=True)


async def read(upstream: Upstream, client: Client | None = None, at: str | None = None) -> bytes:
    if client is None:
        async with Client(OptionsConfig(timeout=5)) as own:
            return await read(upstream, own, at)
    async with client.open(upstream, at=at) as response:
        return await response.content.read()


async def refusal(upstream: Upstream, client: Client | None = None, at: str | None = None) -> UpstreamUnreachable:
    with pytest.raises(UpstreamUnreachable) as raised:
        await read(upstream, client, at)
    return raised.value


LITERALS = [
    "127.0.0.1",
    "127.9.9.9",
    "0.0.0.0",
    "[::1]",
    "[::]",
    "[0:0:0:0:0:0:0:1]",
    "[::ffff:127.0.0.1]",
    "[::FFFF:7F00:1]",
    "[::127.0.0.1]",
    "[64:ff9b::7f00:1]",
    "[2002:7f00:1::]",
    "①②⑦.0.0.1",
    "１２７.0.0.1",
    "127。0。0。1",
    "127｡0｡0｡1",
    "127.0.0.1\u00ad",
    "name:word@127.0.0.1",
    "[fe80::1]",
    "[ff02::1]",
    "[fd00:ec2::254]",
]
TO_BE_LOOKED_UP = [
    "localhost",
    "LOCALHOST",
    "ⓛⓞⓒⓐⓛⓗⓞⓢⓣ",
    "0x7f.1",
    "0x7f000001",
    "0x7f.0x0.0x0.0x1",
    "0x7f。0.0.1",
    "0x0",
]
NO_ADDRESSES = [
    "localhost.",
    "2130706433",
    "017700000001",
    "0177.0.0.1",
    "127.0.0.01",
    "127.1",
    "0",
    "127.0.0.1.",
    "127.0.0.1..",
    "%31%32%37.0.0.1",
    "[fe80::1%25lo]",
    "[::1%25lo]",
    "evil\\@127.0.0.1",
    "\t127.0.0.1",
    "127.0.0.1%00.example",
]


@pytest.mark.parametrize("host", LITERALS + TO_BE_LOOKED_UP)
async def test_an_address_that_was_given_does_not_lead_to_this_machine(
    host: str, ear: Ear, names: dict[str, Addresses]
) -> None:
    error = await refusal(given(f"http://{host}:{ear.port}/{SECRET}"))
    assert not ear.heard
    assert FORBIDDEN in error.reason
    assert SECRET not in str(error)


@pytest.mark.parametrize("host", NO_ADDRESSES)
async def test_what_only_some_take_for_an_address_leads_nowhere(
    host: str, ear: Ear, names: dict[str, Addresses]
) -> None:
    await refusal(given(f"http://{host}:{ear.port}/"))
    assert not ear.heard


@pytest.mark.parametrize("host", ["127.0.0.1", "[::ffff:127.0.0.1]", "localhost", "0x7f000001"])
async def test_an_address_of_the_owners_does(host: str, names: dict[str, Addresses]) -> None:
    async with origin(sends(OK + b"here")) as seen:
        assert await read(Upstream(f"http://{host}:{seen.port}/", "tv")) == b"here"


async def test_a_secure_connection_does_not_either(ear: Ear) -> None:
    assert FORBIDDEN in (await refusal(given(f"https://127.0.0.1:{ear.port}/"))).reason
    assert not ear.heard


async def test_this_machines_addresses_on_its_interfaces_lead_to_it_too(ear: Ear) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("198.51.100.1", 9))
        except OSError:
            pytest.skip("this machine has no way out, and so no address")
        own = probe.getsockname()[0]
    for host in (own, f"[::ffff:{own}]"):
        assert FORBIDDEN in (await refusal(given(f"http://{host}:{ear.port}/"))).reason
    assert not ear.heard


async def test_the_service_of_a_cloud_is_not_asked() -> None:
    assert FORBIDDEN in (await refusal(given("http://169.254.169.254/latest/meta-data/"))).reason


async def test_what_is_allowed_is_reached(outside: None) -> None:
    async with origin(sends(OK + b"here")) as seen:
        assert await read(given(seen.url())) == b"here"


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_a_redirect_does_not_lead_to_this_machine(status: int, outside: None, inside: Ear) -> None:
    location = f"http://127.0.0.2:{inside.port}/{SECRET}".encode()
    moved = b"HTTP/1.1 %d Moved\r\nLocation: %b\r\nContent-Length: 0\r\n\r\n" % (status, location)
    async with origin(sends(moved)) as seen:
        error = await refusal(given(seen.url()))
        assert len(seen.exchanges) == 1
    assert FORBIDDEN in error.reason
    assert not inside.heard


@pytest.mark.parametrize(
    "location",
    ["//{host}/", "http://{host}/", "HTTPS://{host}/", "http://a@{host}/"],
)
@pytest.mark.parametrize("host", ["127.0.0.2", "[::ffff:127.0.0.2]", "[::1]", "0x7f000002", "①②⑦.0.0.2", "localhost6"])
async def test_a_redirect_in_another_spelling_does_not_either(
    location: str, host: str, outside: None, ear: Ear, names: dict[str, Addresses]
) -> None:
    names["localhost6"] = "::1"
    async with origin(redirects(location.format(host=f"{host}:{ear.port}").encode())) as seen:
        assert FORBIDDEN in (await refusal(given(seen.url()))).reason
    assert not ear.heard


async def test_the_last_of_many_redirects_does_not_either(outside: None, inside: Ear) -> None:
    async def answer(exchange: Exchange) -> None:
        hop = len(seen.exchanges)
        location = f"/{hop}" if hop < 9 else f"http://127.0.0.2:{inside.port}/"
        await exchange.send(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    async with origin(answer) as seen:
        assert FORBIDDEN in (await refusal(given(seen.url()))).reason
        assert len(seen.exchanges) == 9
    assert not inside.heard


async def test_a_place_that_a_redirect_once_led_to_does_not_either(outside: None, inside: Ear) -> None:
    async with origin(sends(OK)) as seen:
        assert FORBIDDEN in (await refusal(given(seen.url()), at=f"http://127.0.0.2:{inside.port}/")).reason
        assert not seen.exchanges
    assert not inside.heard


@pytest.mark.parametrize("known", ["127.0.0.2", "::1", ["127.0.0.2", "::1"], ["127.0.0.2", "127.0.0.3"], "0.0.0.0"])
async def test_a_name_does_not_lead_to_this_machine(
    known: str | list[str], ear: Ear, names: dict[str, Addresses]
) -> None:
    names["tv.example"] = known
    assert FORBIDDEN in (await refusal(given(f"http://tv.example:{ear.port}/"))).reason
    assert not ear.heard


@pytest.mark.parametrize(
    "known",
    [
        ["127.0.0.2", "127.0.0.1"],
        ["127.0.0.1", "127.0.0.2"],
        ["::1", "127.0.0.1"],
        ["127.0.0.2", "::1", "127.0.0.1"],
    ],
)
async def test_of_several_addresses_of_a_name_those_that_are_allowed_are_taken(
    known: list[str], outside: None, names: dict[str, Addresses]
) -> None:
    names["tv.example"] = known
    async with origin(sends(OK + b"here")) as seen:
        with contextlib.ExitStack() as stack:
            ears = []
            for address in known:
                if address != "127.0.0.1":
                    family = socket.AF_INET6 if ":" in address else socket.AF_INET
                    raw = stack.enter_context(socket.create_server((address, seen.port), family=family))
                    ears.append(Ear(raw))
            for _ in range(3):
                assert await read(given(f"http://tv.example:{seen.port}/")) == b"here"
            assert not any(ear.heard for ear in ears)


async def test_a_name_that_leads_elsewhere_the_second_time_does_not_lead_to_this_machine(
    outside: None, inside: Ear, names: dict[str, Addresses]
) -> None:
    names["tv.example"] = "127.0.0.1"

    async def answer(exchange: Exchange) -> None:
        names["tv.example"] = "127.0.0.2"
        location = f"http://tv.example:{inside.port}/"
        await exchange.send(f"HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n".encode())

    async with origin(answer) as seen:
        assert FORBIDDEN in (await refusal(given(f"http://tv.example:{seen.port}/"))).reason
        assert len(seen.exchanges) == 1
    assert not inside.heard


async def test_what_a_name_server_said_before_changes_nothing(names: dict[str, Addresses]) -> None:
    names["tv.example"] = "127.0.0.1"
    async with origin(sends(OK)) as seen, Client(OptionsConfig(timeout=5)) as client:
        url = f"http://tv.example:{seen.port}/"
        await read(Upstream(url, "tv"), client)
        for _ in range(2):
            assert FORBIDDEN in (await refusal(given(url), client)).reason
        assert len(seen.exchanges) == 1


async def test_a_stranger_gets_none_of_the_owners_cookies_by_taking_a_name_of_theirs(outside: None) -> None:
    cookie = b"HTTP/1.1 200 OK\r\nSet-Cookie: key=1; Path=/\r\nContent-Length: 0\r\n\r\n"
    async with origin(sends(cookie)) as seen, Client(OptionsConfig(timeout=5)) as client:
        for upstream in (Upstream(seen.url(), "tv"), given(seen.url(), "tv"), Upstream(seen.url(), "tv")):
            await read(upstream, client)
        assert ["Cookie" in exchange.headers for exchange in seen.exchanges] == [False, False, True]


async def test_a_numeric_address_is_all_that_is_connected_to() -> None:
    with pytest.raises(guard.ForbiddenAddressError):
        guard.guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("localhost", 80)))
    with pytest.raises(guard.ForbiddenAddressError):
        guard.guarded_socket((socket.AF_INET, socket.SOCK_STREAM, 6, "", ("0x7f.1", 80)))


def inner(kind: str, url: str) -> str:
    match kind:
        case "segment":
            return media([url], ended=True)
        case "key":
            return media(["0.ts"], ended=True).replace("#EXTINF", f'#EXT-X-KEY:METHOD=AES-128,URI="{url}"\n#EXTINF', 1)
        case "header":
            return media(["0.mp4"], ended=True).replace("#EXTINF", f'#EXT-X-MAP:URI="{url}"\n#EXTINF', 1)
        case _:
            return f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1000000\n{url}\n"


@pytest.mark.parametrize("kind", ["segment", "key", "header", "variant"])
async def test_what_a_playlist_lists_does_not_lead_to_this_machine(kind: str, outside: None, inside: Ear) -> None:
    async with hls_origin() as seen:
        seen.serve("/live.m3u8", inner(kind, f"http://127.0.0.2:{inside.port}/x"))
        seen.serve("/0.ts", bytes(188))
        time, options, relay = Jumps(), OptionsConfig(timeout=2), RelayConfig()
        async with Client(options) as client:
            upstream = given(seen.url("/live.m3u8"))
            source = HlsSource(upstream, client, options, relay, clock=time.clock, sleep=time.sleep)
            with pytest.raises(UpstreamError):
                await source.run(Recorder())
        assert "/live.m3u8" in seen.paths
    assert not inside.heard
