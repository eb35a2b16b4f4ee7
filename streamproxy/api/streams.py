"""Streams: made, looked at, switched over and deleted."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from itertools import islice

from aiohttp import web

from streamproxy.api import models
from streamproxy.api.contract import operation
from streamproxy.api.reach import check_addresses
from streamproxy.api.representation import Presenter, endpoint, has_failover, type_of
from streamproxy.broadcast.continuity import Continuity
from streamproxy.errors import StateError
from streamproxy.events import StreamStarted, StreamStopped
from streamproxy.model import Channel, StreamKind
from streamproxy.playlist.created import Order
from streamproxy.web import AUDIENCE, BROADCASTS, EVENTS, LIBRARY, SETTINGS, find_channel

routes = web.RouteTableDef()

_NOT_FOUND = {404: "There is no such stream"}
_AT_ONCE = frozenset({"metadata", "created"})
"""What of an order is in force at once, also while somebody watches."""


@routes.post("/streams")
@operation("Make a stream", errors={503: "It cannot be kept over a restart"})
async def create(request: web.Request, body: models.StreamBody) -> models.StreamMade:
    """Make a stream of an address, or change the one that there is.

    The same address has the same id each time. What cannot be changed while somebody watches is in force when they have
    left; the message says so.
    """
    order = order_of(body)
    channel, message = await make(request, order)
    where = endpoint(request, channel)
    kind = "hls" if channel.kind is StreamKind.HLS else "direct"
    request.app[EVENTS].publish(
        StreamStarted(
            stream_id=channel.id,
            primary_url=order.url,
            failover_urls=list(order.failover_urls),
            user_agent=order.user_agent or "",
            stream_type=kind,
            metadata=order.metadata,
        )
    )
    return models.StreamMade(
        stream_id=channel.id,
        primary_url=body.url,
        failover_urls=list(order.failover_urls),
        user_agent=body.user_agent,
        stream_type=kind,
        stream_endpoint=where,
        playlist_url=where,
        direct_url=where,
        message=message.format(kind),
        metadata=None if body.metadata is None else dict(order.metadata),
    )


def order_of(body: models.StreamBody) -> Order:
    """Make an order of what was sent."""
    return Order(
        url=body.url,
        failover_urls=tuple(body.failover_urls or ()),
        failover_resolver_url=body.failover_resolver_url,
        user_agent=body.user_agent,
        headers=body.headers or {},
        metadata=body.metadata or {},
        strict_live_ts=body.strict_live_ts,
        use_sticky_session=body.use_sticky_session,
    )


async def make(request: web.Request, order: Order) -> tuple[Channel, str]:
    """Make a stream or change it; return its channel, and a message in which `{}` stands for its kind."""
    _check_addresses(request, order)
    created, audience = request.app[LIBRARY].created, request.app[AUDIENCE]
    before = created.order(order.id)
    try:
        if before:
            order = replace(order, created=before.created)
        else:
            await _make_room(request)
        channel = await created.add(order)
    except StateError as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    record = audience.record(channel)
    return channel, _what_was_done(before, order, watched=bool(record.clients))


def _check_addresses(request: web.Request, order: Order) -> None:
    named = [("url", order.url), *(("failover_urls", url) for url in order.failover_urls)]
    if order.failover_resolver_url:
        named.append(("failover_resolver_url", order.failover_resolver_url))
    check_addresses(request, named)


async def _make_room(request: web.Request) -> None:
    created, audience = request.app[LIBRARY].created, request.app[AUDIENCE]
    if len(created) < request.app[SETTINGS].config.api.max_streams:
        return
    for channel in created:
        record = audience.records.get(channel.id)
        if record is None or not record.clients:
            audience.forget(channel.id)
            await created.remove(channel.id)
            return
    raise web.HTTPServiceUnavailable(
        text="there are too many streams, and all are watched; api.max_streams allows more"
    )


def _what_was_done(before: Order | None, order: Order, *, watched: bool) -> str:
    if before is None:
        return "Stream created successfully ({})"
    changed = [name for name in Order.__slots__ if getattr(before, name) != getattr(order, name)]
    later = [name for name in changed if name not in _AT_ONCE]
    if watched and later:
        return (
            f"Stream created successfully ({{}}); it is being watched: {', '.join(later)} will be in force afterwards"
        )
    return "Stream created successfully ({})"


@routes.get("/streams")
@operation("List the streams")
async def list_streams(request: web.Request, query: models.Page) -> models.Streams:
    """List streams: those that are watched, those made through the API, those of the configuration and of its lists."""
    presenter = Presenter(request)
    channels = islice(all_channels(request), query.offset, query.offset + query.limit)
    total = request.app[LIBRARY].size
    return models.Streams(streams=[presenter.stream(channel) for channel in channels], total=total)


def all_channels(request: web.Request) -> Iterator[Channel]:
    """Yield every stream once, those first that are watched."""
    catalog, created = request.app[LIBRARY].catalog, request.app[LIBRARY].created
    active = [record.channel for record in request.app[AUDIENCE].records.values() if record.clients]
    first = {channel.id for channel in active}
    yield from active
    yield from (channel for channel in created if channel.id not in first)
    yield from (channel for channel in catalog.channels.values() if channel.id not in first)


@routes.get("/streams/by-metadata")
@operation("Find streams by metadata")
async def find_by_metadata(request: web.Request, query: models.ByMetadata) -> models.MatchingStreams:
    """Find the streams with a certain entry in their metadata."""
    presenter = Presenter(request)
    found = []
    for channel in _matching(request, query.field, query.value):
        stream = presenter.stream(channel)
        if stream.client_count or not query.active_only:
            matching = models.MatchingStream(
                stream_id=channel.id,
                client_count=stream.client_count,
                metadata=stream.metadata,
                last_access=stream.last_access,
                is_active=stream.is_active,
                url=stream.current_url,
                stream_type=stream.stream_type,
            )
            found.append(matching)
    return models.MatchingStreams(
        filter=models.Filter(field=query.field, value=query.value),
        active_only=query.active_only,
        matching_streams=found,
        total_matching=len(found),
        total_clients=sum(stream.client_count for stream in found),
    )


@routes.get("/streams/counts-by-metadata")
@operation("Count streams by metadata")
async def count_by_metadata(request: web.Request, query: models.CountsByMetadata) -> models.Counts:
    """Count the streams with each of several values of an entry in their metadata."""
    presenter = Presenter(request)
    counts = dict.fromkeys((value.strip() for value in query.values.split(",") if value.strip()), 0)
    for channel in _with_metadata(request):
        value = channel.metadata.get(query.field)
        if value in counts and (presenter.record(channel).clients or not query.active_only):
            counts[value] += 1
    return models.Counts(field=query.field, counts=counts)


@routes.delete("/streams/by-metadata")
@operation("Delete streams by metadata", errors={503: "They are gone, but would be there after a restart"})
async def delete_by_metadata(request: web.Request, query: models.Deletion) -> models.StreamsDeleted:
    """Delete the streams with a certain entry in their metadata, and end their viewers."""
    presenter = Presenter(request)
    deleted: list[str] = []
    skipped: list[models.WatchedStream | models.ExcludedStream] = []
    for channel in _matching(request, query.field, query.value):
        others = sum(client_id != query.client_id for client_id in presenter.record(channel).clients)
        if query.exclude_channel_id and channel.metadata.get("id") == query.exclude_channel_id:
            skipped.append(models.ExcludedStream(stream_id=channel.id))
        elif others and not query.force:
            skipped.append(models.WatchedStream(stream_id=channel.id, active_clients=others))
        else:
            await _delete(
                request,
                channel,
                StreamStopped(
                    stream_id=channel.id,
                    reason="metadata_filter_deletion",
                    filter_field=query.field,
                    filter_value=query.value,
                    was_transcoded=channel.transcode is not None,
                    metadata=channel.metadata,
                ),
            )
            deleted.append(channel.id)
    return models.StreamsDeleted(
        message=f"Deleted {len(deleted)} stream(s) matching {query.field}={query.value}",
        deleted_streams=deleted,
        skipped_streams=skipped,
        deleted_count=len(deleted),
    )


@routes.delete("/streams/oldest-by-metadata")
@operation("Delete the oldest stream by metadata", errors={503: "It is gone, but would be there after a restart"})
async def delete_oldest_by_metadata(request: web.Request, query: models.OldestDeletion) -> models.OldestDeleted:
    """Delete, of the streams with a certain entry in their metadata, that which was made first."""
    excluded = query.exclude_channel_id
    presenter = Presenter(request)
    ages = [
        (presenter.stream(channel).created_at, channel)
        for channel in _matching(request, query.field, query.value)
        if not excluded or channel.metadata.get("id") != excluded
    ]
    if not ages:
        message = f"No streams found matching {query.field}={query.value}"
        return models.OldestDeleted(message=message, deleted_stream=None, deleted_count=0)
    created, channel = min(ages, key=lambda age: age[0])
    farewell = StreamStopped(stream_id=channel.id, reason="oldest_stream_deletion", metadata=channel.metadata)
    await _delete(request, channel, farewell)
    return models.OldestDeleted(
        message=f"Deleted oldest stream matching {query.field}={query.value}",
        deleted_stream=channel.id,
        stream_age_seconds=(datetime.now(UTC) - created).total_seconds(),
        deleted_count=1,
    )


@routes.get("/streams/{id}")
@operation("Look at a stream", errors=_NOT_FOUND)
async def show(request: web.Request) -> models.StreamAndClients:
    """Show a stream and who watches it."""
    presenter = Presenter(request)
    channel = find_channel(request, request.match_info["id"])
    clients = presenter.clients(presenter.record(channel))
    return models.StreamAndClients(stream=presenter.stream(channel), clients=clients, client_count=len(clients))


@routes.delete("/streams/{id}")
@operation("Delete a stream", errors=_NOT_FOUND | {503: "It is gone, but would be there after a restart"})
async def delete(request: web.Request) -> models.Message:
    """Delete a stream and end its viewers. One of the configuration is only stopped: it is there as long as that is."""
    channel = find_channel(request, request.match_info["id"])
    farewell = StreamStopped(stream_id=channel.id, reason="manual_deletion", metadata=channel.metadata)
    if await _delete(request, channel, farewell):
        return models.Message(message=f"Stream {channel.id} deleted")
    return models.Message(message=f"Stream {channel.id} stopped; it is in the configuration and stays there")


@routes.post("/streams/{id}/failover")
@operation(
    "Go to the next upstream",
    errors=_NOT_FOUND | {400: "It has no other", 409: "It is on its way to another already"},
)
async def failover(request: web.Request) -> models.FailoverDone:
    """Go to the next upstream of a stream, exactly one step, without a gap for its viewers."""
    channel = find_channel(request, request.match_info["id"])
    if not has_failover(channel):
        text = "No failover mechanism configured for this stream (neither failover_urls nor failover_resolver_url)"
        raise web.HTTPBadRequest(text=text)
    record = request.app[AUDIENCE].record(channel)
    # What plays may have begun with another list of upstreams than there is now.
    running = next((each for each in request.app[BROADCASTS].running if each.channel.id == channel.id), None)
    upstreams = running.channel.upstreams if running else channel.upstreams
    index = (record.index + 1) % len(upstreams)
    # What a service names, which is asked first, is not known yet.
    wanted = None if channel.resolver_url else index
    if running is None:
        record.choose(index)
    elif not (isinstance(running.feed, Continuity) and running.feed.switch(wanted)):
        raise web.HTTPConflict(text="The stream is on its way to another upstream already; try again in a moment")
    return models.FailoverDone(
        message="Failover triggered successfully - all clients will seamlessly reconnect",
        new_url=Presenter(request).url(upstreams[index].url),
        failover_index=index - 1,
        failover_attempts=record.counters.failovers + (running is not None),
        active_clients=len(record.clients),
        stream_type=type_of(channel),
    )


def _with_metadata(request: web.Request) -> Iterator[Channel]:
    """Yield the streams that have metadata: those made through the API, and the configuration's own."""
    catalog = request.app[LIBRARY].catalog
    yield from request.app[LIBRARY].created
    for name in request.app[SETTINGS].config.streams:
        channel = catalog.channels.get(name)
        if channel and channel.metadata:
            yield channel


def _matching(request: web.Request, field: str, value: str) -> list[Channel]:
    return [channel for channel in _with_metadata(request) if channel.metadata.get(field) == value]


async def _delete(request: web.Request, channel: Channel, farewell: StreamStopped) -> bool:
    """End a stream's viewers, and drop it if it was made through the API; tell whether it was."""
    audience = request.app[AUDIENCE]
    is_created = request.app[LIBRARY].created.order(channel.id) is not None
    try:
        await request.app[LIBRARY].created.remove(channel.id)
    except StateError as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    finally:
        # Not before: somebody may have begun to watch meanwhile.
        if record := audience.records.get(channel.id):
            record.stop(farewell)
        elif is_created:
            request.app[EVENTS].publish(farewell)
        request.app[BROADCASTS].stop(channel.id)
        audience.forget(channel.id)
    return is_created
