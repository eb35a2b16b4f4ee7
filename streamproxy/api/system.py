"""Is it alive: `/` and `/health`, in the shape that m3u-proxy's clients read."""

from typing import Any

from aiohttp import web

from streamproxy import __version__
from streamproxy.web import AUDIENCE, BROADCASTS, LIBRARY, SETTINGS

routes = web.RouteTableDef()


@routes.get("/")
async def root(request: web.Request) -> web.Response:
    """Say that it runs."""
    statistics = _statistics(request)
    return web.json_response(
        {
            "status": "running",
            "message": "streamproxy is running",
            "version": __version__,
            "uptime": statistics["uptime_seconds"],
            "streams": statistics["total_streams"],
            "stats": statistics,
        }
    )


@routes.get("/health")
async def health(request: web.Request) -> web.Response:
    """Say that it is well. Answered from memory: a failing upstream does not make the proxy ill."""
    statistics = _statistics(request)
    return web.json_response(
        {
            "status": "healthy",
            "root_path": request.app[SETTINGS].config.server.root_path,
            "version": __version__,
            "uptime_seconds": statistics["uptime_seconds"],
            "streams": statistics["total_streams"],
            "active_streams": statistics["active_streams"],
            "active_clients": statistics["active_clients"],
            "total_bytes_served": statistics["total_bytes_served"],
            "stats": statistics,
        }
    )


def _statistics(request: web.Request) -> dict[str, Any]:
    audience = request.app[AUDIENCE]
    return {
        "total_streams": len(request.app[LIBRARY].catalog),
        "active_streams": len(request.app[BROADCASTS].running),
        "total_clients": audience.total,
        "active_clients": audience.present,
        "total_bytes_served": audience.sent,
        "total_segments_served": audience.segments,
        "uptime_seconds": int(audience.uptime),
    }
