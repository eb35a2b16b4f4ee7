"""What a web page may have sent, from the browser of somebody on this machine or near it.

Browsers tell on their pages: `Origin` and `Sec-Fetch-Site` give away one that sends requests elsewhere (CSRF); one that
has its own name lead to this machine (DNS rebinding) is given away by that name in `Host`.
"""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from aiohttp import web

from streamproxy.web.addresses import is_from_trusted_proxy
from streamproxy.web.services import SETTINGS

_AUTHORITY = re.compile(r"(\[[0-9a-f:.]+\]|[^:@/\[\]\s]*)(?::[0-9]*)?")
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_OWN_PAGES = frozenset({"same-origin", "none"})


def is_of_another_site(request: web.Request) -> bool:
    """Tell whether a page of another host may have sent this, or has this program go by a name that it does not know.

    Names that it knows are localhost, IP addresses, `server.host` and the host of `server.public_url`.
    """
    asked_for = _asked_for(request)
    pages = {site.strip() for site in request.headers.getall("Sec-Fetch-Site", [])}
    origins = {_authority(origin) for origin in request.headers.getall("Origin", [])}
    public = _authority(request.app[SETTINGS].config.server.public_url or "")
    own = {*asked_for, public} - {""}
    return not (pages <= _OWN_PAGES and origins <= own and all(_is_known(request, host) for host in asked_for))


def _asked_for(request: web.Request) -> set[str]:
    """List what a client has asked for: host and port, in lower case."""
    hosts = request.headers.getall("Host", [])
    if is_from_trusted_proxy(request):
        hosts = [*hosts, *",".join(request.headers.getall("X-Forwarded-Host", [])).split(",")]
    return {host.strip().lower() for host in hosts if host.strip()}


def _authority(url: str) -> str:
    """Take host and port of an origin or a URL; empty for those of an origin that does not tell, `null`."""
    scheme, _, rest = url.strip().lower().partition("://")
    return rest.partition("/")[0].removesuffix(_DEFAULT_PORTS.get(scheme, ":"))


def _is_known(request: web.Request, authority: str) -> bool:
    match = _AUTHORITY.fullmatch(authority)
    if not match:
        return False
    name = match[1].removeprefix("[").removesuffix("]").removesuffix(".")
    server = request.app[SETTINGS].config.server
    own = {"localhost", server.host.lower(), urlsplit(server.public_url or "").hostname}
    return name in own or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True
