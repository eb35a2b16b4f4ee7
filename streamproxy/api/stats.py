"""Statistics: what has been served, to whom, and how upstreams fared."""

from datetime import UTC, datetime
from typing import Any

from aiohttp import web

from streamproxy.api import models
from streamproxy.api.clients import everybody
from streamproxy.api.contract import operation
from streamproxy.api.representation import Presenter, statistics
from streamproxy.web import ACCOUNTS, AUDIENCE, BROADCASTS

routes = web.RouteTableDef()


@routes.get("/stats")
@operation("Count what has been served")
async def stats(request: web.Request) -> models.Stats:
    """Count what has been served in all, by stream and by client."""
    counted = statistics(request)
    return models.Stats(
        **counted.model_dump(),
        proxy_stats=counted,
        streams=_watched_streams(request),
        clients=everybody(request).clients,
    )


@routes.get("/stats/detailed")
@operation("Count in detail")
async def detailed(request: web.Request) -> models.DetailedStats:
    """Count what has been served, what connections there are, and what went wrong."""
    return models.DetailedStats(
        proxy_stats=statistics(request),
        connection_pool_stats=_connections(request),
        failover_stats=_failovers(request),
        performance_metrics=_performance(request),
        error_stats=_errors(request),
        stream_count=len(request.app[AUDIENCE].records),
        client_count=request.app[AUDIENCE].present,
    )


@routes.get("/stats/performance")
@operation("Tell how it performs")
async def performance(request: web.Request) -> models.PerformanceStats:
    """Tell how fast everything is, and what went wrong."""
    return models.PerformanceStats(
        connection_pool=_connections(request),
        performance_metrics=_performance(request),
        failover_stats=_failovers(request),
        error_stats=_errors(request),
        timestamp=datetime.now(UTC),
    )


@routes.get("/stats/streams")
@operation("List the streams that were watched")
async def streams(request: web.Request) -> models.StreamStats:
    """List the streams that were made through the API or have been watched."""
    watched = _watched_streams(request)
    return models.StreamStats(total_streams=len(watched), streams=watched)


@routes.get("/stats/clients")
@operation("List who watches")
async def clients(request: web.Request) -> models.Clients:
    """List everybody who watches anything."""
    return everybody(request)


def _watched_streams(request: web.Request) -> list[models.Stream]:
    presenter = Presenter(request)
    return [presenter.stream(record.channel) for record in request.app[AUDIENCE].records.values()]


def _connections(request: web.Request) -> dict[str, Any]:
    accounts = request.app[ACCOUNTS]
    return {
        "running_channels": len(request.app[BROADCASTS].running),
        "slots": {account.label: {"held": account.held, "limit": account.limit} for account in accounts.active()},
    }


def _failovers(request: web.Request) -> dict[str, Any]:
    counters = [record.counters for record in request.app[AUDIENCE].records.values()]
    return {
        "failovers": sum(each.failovers for each in counters),
        "retries": sum(each.retries for each in counters),
        "splices": sum(each.splices for each in counters),
    }


def _performance(request: web.Request) -> dict[str, Any]:
    records = request.app[AUDIENCE].records.values()
    return {
        "bytes_per_second": round(sum(record.rate for record in records), 1),
        "overruns": sum(record.overruns for record in records),
        "bytes_skipped": sum(record.skipped for record in records),
    }


def _errors(request: web.Request) -> dict[str, Any]:
    counters = [record.counters for record in request.app[AUDIENCE].records.values()]
    return {
        "upstreams_lost": sum(each.errors for each in counters),
        "streams_given_up": sum(each.failures for each in counters),
    }
