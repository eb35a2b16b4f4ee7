"""The services that handlers find in the application, and the channel that a request names."""

from collections.abc import Callable
from typing import Protocol

from aiohttp import web

from streamproxy.audience import Audience
from streamproxy.broadcast.broadcast import Feed
from streamproxy.broadcast.registry import BroadcastRegistry
from streamproxy.config import Config
from streamproxy.config.transcoding import profile_names
from streamproxy.events import EventBus
from streamproxy.model import Channel
from streamproxy.playlist.library import Library
from streamproxy.playlist.variants import UNTRANSCODED, is_profile, transcoded
from streamproxy.sources.accounts import Accounts
from streamproxy.sources.client import Client


class Settings(Protocol):
    """Where the settings in force are found; a reload replaces them."""

    @property
    def config(self) -> Config:
        """The settings in force."""


SETTINGS = web.AppKey("settings", Settings)
LIBRARY = web.AppKey("library", Library)
BROADCASTS = web.AppKey("broadcasts", BroadcastRegistry)
AUDIENCE = web.AppKey("audience", Audience)
EVENTS = web.AppKey("events", EventBus)
CLIENT = web.AppKey("client", Client)
ACCOUNTS = web.AppKey("accounts", Accounts)
OPEN_FEED: web.AppKey[Callable[[Channel], Feed]] = web.AppKey("open_feed")


def find_channel(request: web.Request, name: str) -> Channel:
    """Look a channel up by id.

    Raises:
        HTTPNotFound: There is none.
    """
    channel = request.app[LIBRARY].find(name)
    if channel is None:
        raise web.HTTPNotFound(text="Stream not found")
    return channel


def find_watched(request: web.Request, name: str) -> Channel:
    """Look up the channel that a viewer wants: transcoded, where they ask for a profile or it has one of its own.

    Raises:
        HTTPNotFound: There is none.
        HTTPBadRequest: There is no such profile.
    """
    channel = find_channel(request, name)
    request.app[LIBRARY].created.use(channel.id)
    profile = request.query.get("profile", "") or channel.profile
    if profile is None or channel.transcode or profile in UNTRANSCODED:
        return channel
    config = request.app[SETTINGS].config
    if not is_profile(config, profile):
        known = ", ".join(profile_names(config.transcode))
        raise web.HTTPBadRequest(text=f"Profile '{profile[:100]}' not found. Available profiles: {known}")
    return transcoded(channel, profile)
