"""Transcoding: streams made with a profile, and the profiles that there are."""

import json
import shlex
from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Literal, Protocol

from aiohttp import web
from pydantic import Field, StringConstraints

from streamproxy.api import models
from streamproxy.api.contract import operation
from streamproxy.api.representation import endpoint
from streamproxy.api.streams import make, order_of
from streamproxy.config.transcoding import profile_names, profile_of
from streamproxy.errors import FfmpegMissing
from streamproxy.events import StreamStarted
from streamproxy.formats.transcoding import Container, Profile, ProfileError, UnknownProfile
from streamproxy.hwaccel import Hardware
from streamproxy.model import Channel
from streamproxy.playlist.created import Order
from streamproxy.web import EVENTS, LIBRARY, SETTINGS

routes = web.RouteTableDef()

REMEDY = "install it with: sudo apt install ffmpeg, or: pip install 'streamproxy[ffmpeg]'"
"""What to do where there is no ffmpeg."""
_UNAVAILABLE = {501: "There is no ffmpeg"}


class TranscodingService(Protocol):
    """What knows how streams are transcoded here."""

    async def hardware(self) -> Hardware:
        """Wait until it is known which ffmpeg there is, and what it can do.

        Raises:
            FfmpegMissing: There is none.
        """

    async def command(self, channel: Channel) -> list[str]:
        """Tell what ffmpeg is told for a transcoded channel, without anybody's address.

        Raises:
            FfmpegMissing: There is none.
            ProfileError: It cannot be made.
        """


TRANSCODING: web.AppKey[TranscodingService] = web.AppKey("transcoding")


class TranscodeBody(models.StreamBody):
    """A stream that is to be made and transcoded."""

    profile: Annotated[str, StringConstraints(min_length=1, max_length=4096)] = "default"
    """Name of a profile; or what ffmpeg is told, beginning with `-`, where transcode.raw_templates allows that."""
    profile_variables: Annotated[dict[str, str], Field(max_length=100)] | None = None
    """What is filled into a template, by name."""
    output_format: Literal["mpegts", "hls", "mp4", "webm", "matroska", "mkv", "mjpeg"] = "mpegts"
    """What it is packed in; a profile that makes only one of these says which."""


class TranscodeMade(models.Made):
    """A transcoded stream that was made."""

    playlist_url: str | None
    format: str
    profile: str
    profile_variables: dict[str, str]
    ffmpeg_args: list[str]


class ProfileShown(models.Model):
    """A profile."""

    name: str
    description: str
    parameters: dict[str, Any]


class Profiles(models.Model):
    """The profiles that there are, and the hardware that makes them fast."""

    profiles: list[ProfileShown]
    hardware_acceleration: dict[str, Any]


@routes.post("/transcode")
@operation(
    "Make a transcoded stream",
    errors={400: "There is no such profile", 503: "It cannot be kept over a restart"} | _UNAVAILABLE,
)
async def create(request: web.Request, body: TranscodeBody) -> TranscodeMade:
    """Make a stream of an address that is transcoded for its viewers: one ffmpeg for all of them."""
    profile = _profile(request, body.profile)
    output = _output(profile, body.output_format)
    order = replace(
        order_of(body),
        profile=body.profile,
        output_format=output,
        profile_variables=body.profile_variables or {},
    )
    await _hardware(request)
    try:
        told = await request.app[TRANSCODING].command(request.app[LIBRARY].created.preview(order))
    except ProfileError as error:
        raise web.HTTPBadRequest(text=str(error)) from None
    order = replace(order, metadata=dict(order.metadata) | _told(order, told))
    channel, message = await make(request, order)
    is_hls = output == "hls"
    request.app[EVENTS].publish(
        StreamStarted(
            stream_id=channel.id,
            primary_url=order.url,
            failover_urls=list(order.failover_urls),
            user_agent=order.user_agent or "",
            stream_type="transcoded",
            profile=body.profile,
            metadata=order.metadata,
        )
    )
    where = endpoint(request, channel, as_hls=is_hls)
    return TranscodeMade(
        stream_id=channel.id,
        primary_url=body.url,
        failover_urls=list(order.failover_urls),
        user_agent=body.user_agent,
        stream_type="transcoded",
        stream_endpoint=where,
        playlist_url=where if is_hls else None,
        direct_url=where,
        format=output,
        profile=body.profile,
        profile_variables=dict(order.profile_variables),
        ffmpeg_args=told,
        message=message.format("HLS output" if is_hls else f"direct {output.upper()} pipe"),
        metadata=dict(order.metadata),
    )


def _told(order: Order, command: list[str]) -> dict[str, str]:
    """Tell in its metadata that a stream is transcoded, and how: m3u-proxy's clients look for that."""
    return {
        "transcoding": "true",
        "profile": order.profile or "",
        "profile_variables": json.dumps(dict(order.profile_variables)),
        "ffmpeg_args": shlex.join(command),
    }


@routes.get("/transcode/profiles")
@operation("List the profiles", errors=_UNAVAILABLE)
async def list_profiles(request: web.Request) -> Profiles:
    """List the profiles that there are, and the hardware that makes them fast."""
    config = request.app[SETTINGS].config.transcode
    hardware = await _hardware(request)
    shown = [profile_of(config, name) for name in profile_names(config)]
    return Profiles(
        profiles=[_shown(profile) for profile in shown],
        hardware_acceleration=acceleration_of(hardware),
    )


def acceleration_of(hardware: Hardware | None) -> dict[str, Any]:
    """Show which hardware works, in m3u-proxy's words and with all that was tried."""
    best = hardware.working[0] if hardware and hardware.working else None
    return {
        "enabled": best is not None,
        "type": str(best.kind) if best else "cpu",
        "device": best.device if best else None,
        "ffmpeg_args": [],
        "attempts": hardware.as_json()["attempts"] if hardware else [],
    }


async def _hardware(request: web.Request) -> Hardware:
    try:
        return await request.app[TRANSCODING].hardware()
    except FfmpegMissing as error:
        raise web.HTTPNotImplemented(text=f"{error}; {REMEDY}") from None


def _profile(request: web.Request, name: str) -> Profile:
    config = request.app[SETTINGS].config.transcode
    try:
        return profile_of(config, name)
    except UnknownProfile:
        if name.startswith("-"):
            raise web.HTTPBadRequest(text="Templates are not allowed; transcode.raw_templates allows them") from None
        known = ", ".join(profile_names(config))
        raise web.HTTPBadRequest(text=f"Profile '{name[:100]}' not found. Available profiles: {known}") from None
    except ProfileError as error:
        raise web.HTTPBadRequest(text=str(error)) from None


def _output(profile: Profile, wanted: str) -> str:
    """Choose what is made: what is wanted; or what the profile makes, where nothing in particular is wanted."""
    wanted = {"mkv": "matroska"}.get(wanted, wanted)
    if wanted == "mpegts" and profile.container is not Container.MPEGTS:
        return str(profile.container)
    return wanted


def _shown(profile: Profile) -> ProfileShown:
    parameters: Mapping[str, Any] = {
        "video": profile.video,
        "video_bitrate": profile.video_bitrate,
        "max_height": profile.max_height,
        "fps": profile.fps,
        "audio": profile.audio,
        "audio_bitrate": profile.audio_bitrate,
        "container": profile.container,
    }
    said = {name: value for name, value in parameters.items() if value is not None}
    return ProfileShown(name=profile.name, description=profile.description, parameters=said)
