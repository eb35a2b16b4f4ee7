"""Channels that are other channels, transcoded: each profile of a channel is one of its own."""

from collections.abc import Mapping
from dataclasses import replace

from streamproxy.config import Config
from streamproxy.config.transcoding import profile_of
from streamproxy.formats.transcoding import Container, Profile, ProfileError, UnknownProfile, WhenFull
from streamproxy.model import Channel, RelayMode, StreamKind, Transcode

SEPARATOR = "~"
"""Stands between the id of a channel and the name of a profile."""
UNTRANSCODED = frozenset({"none", "raw", "pass"})
"""What is asked for by whoever wants a channel as it comes, whatever its usual profile is."""


def transcoded(
    channel: Channel,
    profile: str,
    *,
    channel_id: str | None = None,
    container: str | None = None,
    variables: Mapping[str, str] | None = None,
) -> Channel:
    """Make the channel that is another one with a profile.

    Args:
        channel: The other one.
        profile: Name of the profile.
        channel_id: The id it has; None for that of the other one and the profile.
        container: What it is packed in; None for what the profile says.
        variables: What is filled into a raw template.
    """
    first = replace(channel.upstreams[0], kind=StreamKind.LIVE, account="")
    return replace(
        channel,
        id=channel_id or f"{channel.id}{SEPARATOR}{profile}",
        upstreams=(first,),
        mode=RelayMode.SHARED,
        strict=False,
        resolver_url=None,
        profile=None,
        transcode=Transcode(channel, profile, container, variables or {}),
    )


def split(name: str) -> tuple[str, str]:
    """Split what may be the id of such a channel into that of the other one and the profile; else both are empty."""
    channel_id, separator, profile = name.rpartition(SEPARATOR)
    return (channel_id, profile) if separator else ("", "")


def is_profile(config: Config, name: str) -> bool:
    """Tell whether there is a profile of a name. Templates are not for viewers."""
    if name.startswith("-"):
        return False
    try:
        profile_of(config.transcode, name)
    except (UnknownProfile, ProfileError):
        return False
    return True


def container_of(profile: Profile, transcode: Transcode) -> Container:
    """Tell what a stream is packed in.

    Raises:
        ProfileError: There is no such container.
    """
    if transcode.container is None:
        return profile.container
    try:
        return Container(transcode.container)
    except ValueError:
        raise ProfileError(f"knows no output format {transcode.container}") from None


def media_type_of(config: Config, transcode: Transcode) -> str:
    """Tell how a transcoded stream is packed; as MPEG-TS where its profile is no more."""
    try:
        return container_of(profile_of(config.transcode, transcode.profile), transcode).media_type
    except ProfileError:
        return Container.MPEGTS.media_type


def passes_when_full(config: Config, transcode: Transcode) -> bool:
    """Tell whether viewers get what is transcoded as it is when no further ffmpeg may run."""
    return profile_of(config.transcode, transcode.profile).when_full is WhenFull.RAW
