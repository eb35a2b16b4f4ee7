"""What the HTTP faces share: the services, where clients are, what goes wrong, and who may do what."""

from streamproxy.web.access import FACES, Face, Kind, guard, kind_of, warn_if_open
from streamproxy.web.addresses import base_url, client_address, visitor_of
from streamproxy.web.errors import Responder, answer_errors
from streamproxy.web.own import OWN_SECRET, own_path
from streamproxy.web.services import (
    ACCOUNTS,
    AUDIENCE,
    BROADCASTS,
    CLIENT,
    EVENTS,
    LIBRARY,
    OPEN_FEED,
    SETTINGS,
    Settings,
    find_channel,
    find_watched,
)
from streamproxy.web.tokens import is_authenticated, may_watch, shown

__all__ = [
    "ACCOUNTS",
    "AUDIENCE",
    "BROADCASTS",
    "CLIENT",
    "EVENTS",
    "FACES",
    "LIBRARY",
    "OPEN_FEED",
    "OWN_SECRET",
    "SETTINGS",
    "Face",
    "Kind",
    "Responder",
    "Settings",
    "answer_errors",
    "base_url",
    "client_address",
    "find_channel",
    "find_watched",
    "guard",
    "is_authenticated",
    "kind_of",
    "may_watch",
    "own_path",
    "shown",
    "visitor_of",
    "warn_if_open",
]
