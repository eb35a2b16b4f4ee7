"""Events as they happen: `/events`, a stream of server-sent events for dashboards."""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import contextmanager
from typing import Annotated

from aiohttp import hdrs, web
from pydantic import AfterValidator

from streamproxy.api.contract import operation
from streamproxy.api.models import Model
from streamproxy.events import EVENTS, Event
from streamproxy.web import shown

routes = web.RouteTableDef()

_REMEMBERED = 1000
"""Events that are kept for those who come back."""
_BEHIND = 1000
"""Events that somebody may lag behind before the oldest are dropped."""
_HEARTBEAT = 15.0
"""Seconds without an event after which a comment says that the connection is alive."""


class EventLog:
    """Keeps the newest events, and hands them to everybody who follows."""

    def __init__(self) -> None:
        self._past: deque[Event] = deque(maxlen=_REMEMBERED)
        self._followers: set[_Follower] = set()

    def add(self, event: Event) -> None:
        """Take the next event."""
        self._past.append(event)
        for follower in self._followers:
            follower.add(event)

    @contextmanager
    def following(
        self, last_seen: str | None, wants: Callable[[Event], bool] = lambda _: True
    ) -> Iterator["_Follower"]:
        """Follow for the length of the block.

        Args:
            last_seen: Id of the last event that was seen: what came after it is told first, if it is still known.
            wants: Tells which events are told at all.
        """
        follower = _Follower([event for event in self._after(last_seen) if wants(event)], wants)
        self._followers.add(follower)
        try:
            yield follower
        finally:
            self._followers.discard(follower)

    def _after(self, last_seen: str | None) -> list[Event]:
        past = list(self._past)
        for number, event in enumerate(past):
            if event.id == last_seen:
                return past[number + 1 :]
        return []


class _Follower:
    """Somebody who follows; the oldest events are dropped if they are too slow."""

    def __init__(self, first: list[Event], wants: Callable[[Event], bool]) -> None:
        self._wants = wants
        self._events: deque[Event] = deque(first, maxlen=_BEHIND)
        self._some = asyncio.Event()
        if first:
            self._some.set()

    def add(self, event: Event) -> None:
        if self._wants(event):
            self._events.append(event)
            self._some.set()

    async def events(self) -> AsyncIterator[Event | None]:
        """Yield each event; None where there has been none for a while."""
        while True:
            try:
                async with asyncio.timeout(_HEARTBEAT):
                    await self._some.wait()
            except TimeoutError:
                yield None
            while self._events:
                yield self._events.popleft()
            self._some.clear()


EVENT_LOG = web.AppKey("event_log", EventLog)


def _known(value: str) -> str:
    if unknown := set(value.split(",")) - EVENTS.keys():
        raise ValueError(f"there are no events {', '.join(sorted(unknown))}; there are {', '.join(EVENTS)}")
    return value


class EventsQuery(Model):
    """Which events are wanted."""

    events: Annotated[str, AfterValidator(_known)] | None = None
    """Their names, with commas between; all if there is none."""
    stream_id: str | None = None
    """Of which stream; of all if there is none."""


@routes.get("/events", allow_head=False)
@operation("Follow events", media_type="text/event-stream")
async def follow(request: web.Request, query: EventsQuery) -> web.StreamResponse:
    """Send events as they happen, each in the form in which webhooks get it.

    Who comes back with `Last-Event-ID` gets what came meanwhile, as far as it is still known.
    """
    show = shown(request)
    names = set(query.events.split(",")) if query.events else EVENTS.keys()
    response = web.StreamResponse(
        headers={
            hdrs.CONTENT_TYPE: "text/event-stream",
            hdrs.CACHE_CONTROL: "no-store",
            # nginx would hold events back
            "X-Accel-Buffering": "no",
        }
    )

    def wants(event: Event) -> bool:
        return event.name in names and query.stream_id in (None, event.stream_id)

    with request.app[EVENT_LOG].following(request.headers.get("Last-Event-ID"), wants) as follower:
        try:
            await response.prepare(request)
            await response.write(b"retry: 2000\n\n")
            async for event in follower.events():
                if event is None:
                    await response.write(b":\n\n")
                else:
                    text = json.dumps(event.payload(show))
                    await response.write(f"event: {event.name}\nid: {event.id}\ndata: {text}\n\n".encode())
        except ConnectionError:
            pass  # the ordinary end of following
    return response
