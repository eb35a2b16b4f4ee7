"""What can go wrong, as one tree: each class is something a caller reacts to in its own way.

```
StreamproxyError
├── ConfigError            the configuration cannot be used; lists every mistake
├── FfmpegMissing          there is no ffmpeg that runs
├── PlaylistError          a list of channels cannot be read or used
├── StateError             what must survive a restart cannot be read or written
└── UpstreamError          an upstream failed; `label` names it, never its URL
    ├── UpstreamUnreachable    no connection: name, route, refusal, TLS
    ├── UpstreamStalled        silent for longer than it may be
    ├── UpstreamRefused        answered with another status than 200
    ├── UpstreamBusy           not asked: all connections of its provider are in use
    │   └── TranscodingBusy        not begun: all transcoding processes are in use
    ├── TranscodingUnavailable there is no ffmpeg, or it cannot do what is wanted
    ├── UpstreamOffline        has nothing on at present
    ├── UpstreamBroken         broke the protocol, or its connection broke
    ├── TranscodeFailed        came, but ffmpeg could not make of it what was asked for
    └── UpstreamNotMedia       answered 200 with something that is not what it was taken for
        └── UpstreamThin       sends less than it must
```
"""


class StreamproxyError(Exception):
    """The root of what this program raises on purpose."""


class ConfigError(StreamproxyError):
    """The configuration cannot be used.

    Attributes:
        mistakes: One text per mistake, each with file, line and column where there is one, and the remedy.
    """

    def __init__(self, mistakes: list[str]) -> None:
        super().__init__("\n".join(mistakes))
        self.mistakes = mistakes


class FfmpegMissing(StreamproxyError):
    """There is no ffmpeg, or none that runs."""


class PlaylistError(StreamproxyError):
    """A list of channels cannot be read or used; the text names the list, never its URL."""


class StateError(StreamproxyError):
    """A file that must survive a restart cannot be read or written; the text names it, and the remedy."""


class UpstreamError(StreamproxyError):
    """An upstream failed.

    Attributes:
        label: The name under which logs show the upstream. Its URL is a secret.
        reason: What a viewer may be told: short, without names.
    """

    def __init__(self, label: str, reason: str) -> None:
        super().__init__(f"{label}: {reason}")
        self.label = label
        self.reason = reason


class UpstreamUnreachable(UpstreamError):
    """No connection came about: name, route, refusal or TLS."""


class UpstreamStalled(UpstreamError):
    """The upstream was silent for longer than it may be, before its answer or within it."""


class UpstreamRefused(UpstreamError):
    """The upstream answered with another status than 200.

    Attributes:
        status: The status it answered with.
    """

    def __init__(self, label: str, status: int) -> None:
        super().__init__(label, f"the upstream answered with status {status}")
        self.status = status


class UpstreamBusy(UpstreamError):
    """The upstream was not asked: all connections that its provider allows are in use. Viewers get 503."""

    def __init__(self, label: str, reason: str = "all connections of the provider are in use") -> None:
        super().__init__(label, reason)


class TranscodingBusy(UpstreamBusy):
    """The upstream was not asked, as no transcoding process is free for it. Viewers get 503."""

    def __init__(self, label: str, max_processes: int) -> None:
        super().__init__(label, f"all {max_processes} transcoding processes are in use")


class TranscodingUnavailable(UpstreamError):
    """There is no ffmpeg, or it cannot do what is wanted. Viewers get 501."""


class UpstreamOffline(UpstreamError):
    """The upstream has nothing on at present, such as the page of a channel between two programmes. Viewers get 503."""


class UpstreamBroken(UpstreamError):
    """The upstream broke the protocol, or its connection broke."""


class TranscodeFailed(UpstreamError):
    """ffmpeg could not be started, gave up, crashed or hung.

    Attributes:
        produced: Whether any of the stream had come from it before.
        said: Its last words, for logs; empty where it said nothing.
    """

    def __init__(self, label: str, reason: str, *, produced: bool, said: str = "") -> None:
        super().__init__(label, reason)
        self.produced = produced
        self.said = said


class UpstreamNotMedia(UpstreamError):
    """The upstream answered 200 with something that is not what it was taken for.

    Attributes:
        kind: What it is instead (a `StreamKind`), if it can be played at all.
    """

    def __init__(self, label: str, reason: str, kind: str | None = None) -> None:
        super().__init__(label, reason)
        self.kind = kind


class UpstreamThin(UpstreamNotMedia):
    """The upstream sends less than the bit rate that the settings ask for."""
