"""Is it alive, what is it, and can it reach an address: in the shapes that m3u-proxy's clients read."""

from importlib import metadata

from aiohttp import web

from streamproxy import __version__
from streamproxy.api import models
from streamproxy.api.contract import operation
from streamproxy.api.representation import statistics
from streamproxy.api.transcode import TRANSCODING, acceleration_of
from streamproxy.config.transcoding import profile_names, profile_of
from streamproxy.errors import FfmpegMissing, UpstreamError, UpstreamRefused
from streamproxy.formats import urls
from streamproxy.model import Upstream
from streamproxy.web import CLIENT, SETTINGS

routes = web.RouteTableDef()

_PATIENCE = 5.0
"""Seconds for an address that is tried."""
_NO_REDIS = {
    "enabled": False,
    "pooling_enabled": False,
    "host": None,
    "port": None,
    "password": None,
    "db": None,
    "max_clients_per_stream": None,
    "stream_timeout": None,
    "sharing_strategy": None,
}


@routes.get("/")
@operation("Say that it runs")
async def root(request: web.Request) -> models.Root:
    """Say that it runs."""
    counted = statistics(request)
    return models.Root(
        status="running",
        message="streamproxy is running",
        version=__version__,
        uptime=counted.uptime_seconds,
        streams=counted.total_streams,
        stats=counted,
    )


@routes.get("/health")
@operation("Say that it is well")
async def health(request: web.Request) -> models.Health:
    """Say that it is well. Answered from memory: a failing upstream does not make the proxy ill."""
    counted = statistics(request)
    return models.Health(
        status="healthy",
        root_path=request.app[SETTINGS].config.server.root_path,
        version=__version__,
        uptime_seconds=counted.uptime_seconds,
        streams=counted.total_streams,
        active_streams=counted.active_streams,
        active_clients=counted.active_clients,
        total_bytes_served=counted.total_bytes_served,
        stats=counted,
    )


@routes.get("/info")
@operation("Say what it is and how it is set up")
async def info(request: web.Request) -> models.Info:
    """Say what it is and how it is set up. There are no secrets in it."""
    config = request.app[SETTINGS].config
    try:
        hardware = await request.app[TRANSCODING].hardware()
    except FfmpegMissing:
        hardware = None
    profiles = [profile_of(config.transcode, name) for name in profile_names(config.transcode)]
    return models.Info(
        version=__version__,
        ffmpeg_version=f"ffmpeg version {hardware.version}" if hardware else None,
        streamlink_version=_version_of("streamlink"),
        ytdlp_version=None,
        hardware_acceleration=acceleration_of(hardware),
        redis=_NO_REDIS,
        transcoding={
            "enabled": hardware is not None,
            "profiles": {profile.name: profile.description for profile in profiles},
        },
        configuration={
            "default_user_agent": config.options.user_agent,
            "client_timeout": config.hls.viewer_timeout,
            "stream_timeout": config.api.stream_timeout,
            "cleanup_interval": None,
            "max_retries": config.retry.attempts,
        },
        worker={"worker_id": "single", "heartbeat_interval": None, "multi_worker_mode": False},
    )


def _version_of(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


@routes.post("/test-connection")
@operation("Try an address")
async def try_address(request: web.Request, body: models.ConnectionBody) -> models.ConnectionTried:
    """Request an address, and tell how it answers. Always answered with 200."""
    url = body.url.strip().rstrip("/")
    shown = urls.redact(url)
    foreign = not request.app[SETTINGS].config.api.local_urls
    try:
        async with request.app[CLIENT].open(Upstream(url, "test", foreign=foreign), timeout=_PATIENCE) as response:
            status = response.status
    except UpstreamRefused as error:
        return models.ConnectionTried(
            success=False, message=f"{shown} answered with {error.status}", status_code=error.status, url_tested=url
        )
    except UpstreamError as error:
        message = f"Connection failed: {error.reason}"
        return models.ConnectionTried(success=False, message=message, error=error.reason, url_tested=url)
    return models.ConnectionTried(
        success=True, message=f"Successfully connected to {shown}", status_code=status, url_tested=url
    )
