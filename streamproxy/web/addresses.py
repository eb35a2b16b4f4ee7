"""Where clients are, and under which address they reach this program."""

import re
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote

from aiohttp import web

from streamproxy.audience import Visitor
from streamproxy.web.services import SETTINGS
from streamproxy.web.tokens import may_watch

Address = IPv4Address | IPv6Address

_HOST = re.compile(r"(?:[A-Za-z0-9._~-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~-]+)*/?")

_SIGNS_OF_A_PROXY = ("X-Forwarded-For", "Forwarded", "X-Real-IP", "X-Forwarded-Host", "X-Forwarded-Proto", "Via")


def visitor_of(request: web.Request) -> Visitor:
    """Tell what a viewer says of itself."""
    username = request.headers.get("X-Username") or next(
        (request.query[name] for name in ("username", "user", "u") if request.query.get(name)), None
    )
    agent = request.headers.get("User-Agent", "")
    return Visitor.of(client_address(request), agent, username, request.query.get("client_id"))


def client_address(request: web.Request) -> str:
    """Tell where a client is: what reverse proxies that are trusted say, from the nearest on, else its own address."""
    return next((str(hop) for hop in reversed(_believed_hops(request)) if hop), "")


def is_within(request: web.Request, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    """Tell whether a client is in one of these networks; whose address a trusted reverse proxy garbles is in none."""
    return _is_in(_believed_hops(request)[-1], networks)


def is_from_trusted_proxy(request: web.Request) -> bool:
    """Tell whether it is a trusted reverse proxy that sends this, so that what it says of the client is believed."""
    return _is_trusted(request, _peer(request))


def is_on_this_machine(request: web.Request) -> bool:
    """Tell whether a client is this machine, and not somebody behind a reverse proxy that runs here.

    Of what has passed a reverse proxy, that is believed only where the proxy is trusted and names nobody but this
    machine: each of the others could have made the rest up.
    """
    peer = _peer(request)
    if not _is_loopback(peer):
        return False
    if request.headers.keys().isdisjoint(_SIGNS_OF_A_PROXY):
        return True
    named = [_address(hop) for name in ("X-Forwarded-For", "X-Real-IP") for hop in _listed(request, name)]
    return _is_trusted(request, peer) and bool(named) and all(map(_is_loopback, named))


def is_from_itself(request: web.Request) -> bool:
    """Tell whether a client is on this machine and came without a reverse proxy, by whichever of its addresses.

    Unlike `is_on_this_machine` it is so where the program listens on an address of the network alone: nobody else can
    have a connection from an address to that very address.
    """
    peer, own = _peer(request), request.transport and request.transport.get_extra_info("sockname")
    if peer is None or not own:
        return False
    return (peer.is_loopback or peer == _read(own)) and request.headers.keys().isdisjoint(_SIGNS_OF_A_PROXY)


def base_url(request: web.Request) -> str:
    """Tell under which URL this client reaches this program, without a slash at the end.

    It is `server.public_url` where that is set. Else it is what the client asked for, as its Host header says; a
    trusted reverse proxy may say more. An absolute request target is not believed: it would let one client write
    another's playlist.

    Where `server.stream_token` is needed, every address must carry it: for a client that knows it, or the API's, this
    ends in `/token/` and the token.
    """
    token = request.app[SETTINGS].config.server.stream_token
    if token is None or not may_watch(request):
        return _base(request)
    return f"{_base(request)}/token/{quote(token, safe='')}"


def _base(request: web.Request) -> str:
    server = request.app[SETTINGS].config.server
    if server.public_url:
        return server.public_url
    scheme, host, prefix = "http", request.headers.get("Host", ""), server.root_path
    if is_from_trusted_proxy(request):
        scheme = _first(request, "X-Forwarded-Proto") or scheme
        host = _first(request, "X-Forwarded-Host") or host
        port = _first(request, "X-Forwarded-Port")
        if port.isdigit() and ":" not in host.rpartition("]")[2] and port not in ("80", "443"):
            host = f"{host}:{port}"
        prefix = _first(request, "X-Forwarded-Prefix") or prefix
    if scheme not in ("http", "https"):
        scheme = "http"
    if not _HOST.fullmatch(host):
        host = _own_address(request)
    if not _PREFIX.fullmatch(prefix):
        prefix = server.root_path
    return f"{scheme}://{host}{prefix.rstrip('/')}"


def _believed_hops(request: web.Request) -> list[Address | None]:
    """List who passed this on: the peer, then whom those before say they have it from, for as long as they are trusted.

    None stands for what is no address.
    """
    hops = [_peer(request)]
    forwarded = _listed(request, "X-Forwarded-For")
    while forwarded and _is_trusted(request, hops[-1]):
        hops.append(_address(forwarded.pop()))
    return hops


def _listed(request: web.Request, name: str) -> list[str]:
    hops = ",".join(request.headers.getall(name, [])).split(",")
    return [hop.strip() for hop in hops if hop.strip()]


def _peer(request: web.Request) -> Address | None:
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return _read(peer) if peer else None


def _read(socket_address: Sequence[object]) -> Address | None:
    """Read the address of a socket, without the zone it is in."""
    return _address(str(socket_address[0]).partition("%")[0])


def _address(text: str) -> Address | None:
    """Read an address; IPv4 in the clothes of IPv6 is IPv4."""
    try:
        address = ip_address(text)
    except ValueError:
        return None
    return (address.version == 6 and address.ipv4_mapped) or address


def _is_trusted(request: web.Request, address: Address | None) -> bool:
    return _is_in(address, request.app[SETTINGS].config.server.trusted_proxies)


def _is_in(address: Address | None, networks: Iterable[IPv4Network | IPv6Network]) -> bool:
    return address is not None and any(address in network for network in networks)


def _is_loopback(address: Address | None) -> bool:
    return address is not None and address.is_loopback


def _first(request: web.Request, name: str) -> str:
    return request.headers.get(name, "").partition(",")[0].strip()


def _own_address(request: web.Request) -> str:
    own = request.transport.get_extra_info("sockname") if request.transport else None
    if not own:
        return "localhost"
    host = f"[{own[0]}]" if ":" in own[0] else own[0]
    return f"{host}:{own[1]}"
