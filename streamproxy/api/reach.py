"""Where addresses may lead that are given through the API."""

from collections.abc import Iterable
from urllib.parse import urlsplit

from aiohttp import web

from streamproxy.api.contract import Unprocessable, mistake
from streamproxy.formats.addresses import is_internal
from streamproxy.web import SETTINGS

_REFUSED = "Value error, URL must not lead to this machine or its neighbourhood; api.local_urls allows it"


def check_addresses(request: web.Request, named: Iterable[tuple[str, str]]) -> None:
    """Refuse at once what would be refused when it is opened, as far as that shows.

    Args:
        request: Who gives them.
        named: The names of the fields of the body that they stand in, with the addresses.

    Raises:
        Unprocessable: One of them leads inside, and that is not allowed.
    """
    if request.app[SETTINGS].config.api.local_urls:
        return
    if mistakes := [mistake("value_error", ("body", at), _REFUSED, url) for at, url in named if leads_inside(url)]:
        raise Unprocessable(mistakes)


def leads_inside(url: str) -> bool:
    """Tell whether an address shows that it leads to this machine or its neighbourhood. Names are not looked up."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return is_internal(host)
    except ValueError:
        return False
