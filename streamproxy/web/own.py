"""What this program reads from itself: ffmpeg seeks in a file, which it can do by HTTP only.

It is let in whatever `server.allowed_networks` says, and is not told `server.stream_token`: it shows a secret that is
made at each start. ffmpeg takes an address and its headers from its command line alone, where everybody on this machine
can read them. So the secret opens nothing but media, to nobody but who is on this machine, until the program ends.
"""

from urllib.parse import quote

from aiohttp import web

from streamproxy.web.addresses import is_from_itself
from streamproxy.web.tokens import as_bytes, matches

OWN_SECRET = web.AppKey("own_secret", str)
"""What stands between `/token/` and the rest of a path; an address gives no meaning to any of its characters."""


def shows_own_secret(request: web.Request, offered: str) -> bool:
    """Tell whether it is this program that asks.

    Args:
        request: What it asks.
        offered: What it shows, as it was sent; empty for nothing.
    """
    return is_from_itself(request) and matches(as_bytes(offered), request.app[OWN_SECRET])


def own_path(app: web.Application, stream_id: str) -> str:
    """Tell at which path, with its query, this program reads a stream from itself as it comes."""
    return f"/token/{app[OWN_SECRET]}/stream/{quote(stream_id, safe='')}?profile=none"
