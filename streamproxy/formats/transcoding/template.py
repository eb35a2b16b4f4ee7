"""What ffmpeg is told in m3u-proxy's way: a text with variables, such as `-i {input_url} -b:v {video_bitrate|2M}`.

It is cut into words first, as a shell cuts it; variables are put in afterwards, so that no value becomes a word of its
own. What comes out is then looked at word by word: whatever is not known to be harmless is refused. It cannot make
ffmpeg read anything but the input, nor write anything but the output.
"""

import re
import shlex
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from streamproxy.formats.transcoding.errors import ProfileError
from streamproxy.formats.transcoding.options import FLAGS, LEFT_OUT, OPTIONS, name_of
from streamproxy.formats.transcoding.profile import Profile
from streamproxy.formats.transcoding.terms import Container

MAX_LENGTH = 8192
"""Characters of a template."""

DEFAULTS: Mapping[str, str] = MappingProxyType(
    {"format": "mpegts", "video_bitrate": "2M", "audio_bitrate": "128k", "crf": "23"}
)
"""What variables stand for that are not given, and have no default in the template either."""

_OWN = {"input_url": "pipe:0", "output_args": "pipe:1"}
"""Variables that nobody else may set, and what else may be written for them."""
_VARIABLE = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]{0,63})(?:\|([^{}|]*))?\}")
_VALUE = re.compile(r"[A-Za-z0-9_.:+/-]{0,100}")
_CONTAINERS: Mapping[str, Container] = {
    "mpegts": Container.MPEGTS,
    # It is cut into segments by the proxy, without files.
    "hls": Container.MPEGTS,
    "mp4": Container.MP4,
    "webm": Container.WEBM,
    "matroska": Container.MATROSKA,
    "mpjpeg": Container.MJPEG,
}
_MUXERS = {Container.MJPEG: "mpjpeg"}
_FRAGMENTS = "+frag_keyframe+empty_moov+default_base_moof"


@dataclass(frozen=True, slots=True)
class Expanded:
    """A template with everything put in.

    Attributes:
        words: What ffmpeg is told.
        container: What comes out is packed in.
    """

    words: tuple[str, ...]
    container: Container


@dataclass(slots=True)
class _Read:
    """What was understood of a template so far."""

    before: list[str]
    after: list[str]
    inputs: int = 0
    outputs: int = 0
    container: Container | None = None
    mapped: bool = False


def raw_profile(name: str, template: str, variables: Mapping[str, str] = DEFAULTS) -> Profile:
    """Make a profile of a template.

    Raises:
        ProfileError: It is not a template, or tells ffmpeg something that it must not.
    """
    return Profile(name, "a template", template=template, container=expand(template, variables).container)


def expand(
    template: str,
    variables: Mapping[str, str],
    *,
    input: str = "pipe:0",
    output: str = "pipe:1",
    input_options: Sequence[str] = (),
) -> Expanded:
    """Put variables, input and output into a template.

    As in m3u-proxy, the format and the output may be left out, and so may `-map`: then it is the first stream of each
    kind. What concerns fetching, or files of HLS, is left out, since the proxy does that itself.

    Args:
        template: Its text.
        variables: What variables stand for. What is not in it has the template's default, or ours.
        input: What ffmpeg reads.
        output: What it writes.
        input_options: Further options for the input.

    Raises:
        ProfileError: It is not a template, or tells ffmpeg something that it must not.
    """
    read = _Read([], [])
    words = iter(_words(template, variables))
    for word in words:
        _take(word, words, read)
    if read.inputs != 1:
        raise ProfileError("must have one input: write -i {input_url} once")
    container = read.container or _container(variables.get("format", DEFAULTS["format"]))
    maps = [] if read.mapped else ["-map", "0:V:0?", "-map", "0:a:0?"]
    # Nothing but fragments can be sent while it is made.
    flags = ["-movflags", _FRAGMENTS] if container is Container.MP4 and "-movflags" not in read.after else []
    end = [*maps, *read.after, *flags, "-f", _MUXERS.get(container, str(container)), output]
    return Expanded((*read.before, *input_options, "-i", input, *end), container)


def _words(template: str, variables: Mapping[str, str]) -> list[str]:
    if len(template) > MAX_LENGTH or not template.isprintable():
        raise ProfileError(f"must be one line of at most {MAX_LENGTH} characters")
    try:
        words = shlex.split(template)
    except ValueError:
        raise ProfileError("has a quotation mark that is not closed: add the other one") from None
    if words and words[0] == "ffmpeg":
        words = words[1:]
    return [_filled_in(word, variables) for word in words]


def _filled_in(word: str, variables: Mapping[str, str]) -> str:
    def value(found: re.Match[str]) -> str:
        name, default = found[1], found[2]
        if name in _OWN:
            return "{" + name + "}"
        text = variables.get(name, default if default is not None else DEFAULTS.get(name))
        if text is None:
            raise ProfileError(f"needs a variable that has no value: write {{{name}|VALUE}} for a default")
        if not _VALUE.fullmatch(text):
            raise ProfileError(f"has a value that is not as simple as a variable's must be: change {name}")
        return text

    return _VARIABLE.sub(value, word)


def _take(word: str, words: Iterator[str], read: _Read) -> None:
    """Take one word, and the value behind it if it has one."""
    if read.outputs:
        raise ProfileError("must end with its output: remove what follows it, or write -i before it")
    if not word.startswith("-") or word == "-":
        _take_output(word, read)
        return
    name = name_of(word)
    if name in FLAGS:
        _current(read).append(word)
        return
    if name not in OPTIONS and name not in LEFT_OUT and name not in ("i", "f"):
        raise ProfileError(f"has an option that is not among those allowed: remove {_shown(word)}")
    value = next(words, None)
    if value is None:
        raise ProfileError(f"ends with an option that lacks its value: complete {_shown(word)}")
    if name == "i":
        _take_input(value, read)
    elif name == "f":
        _take_format(value, read)
    elif name not in LEFT_OUT:
        read.mapped |= name == "map"
        OPTIONS[name](_shown(word), value)
        _current(read).extend((word, value))


def _take_input(value: str, read: _Read) -> None:
    if value not in ("{input_url}", _OWN["input_url"], "-"):
        raise ProfileError("must read nothing but the stream: write -i {input_url}")
    read.inputs += 1


def _take_output(word: str, read: _Read) -> None:
    if word not in ("{output_args}", _OWN["output_args"], "-"):
        # m3u-proxy's default for HLS is the name of a playlist, which is a variable's default and does not get here.
        raise ProfileError("must write nothing but the stream: end it with {output_args}, and quote what has blanks")
    if not read.inputs:
        raise ProfileError("must name its input before its output: write -i {input_url} first")
    read.outputs += 1


def _take_format(value: str, read: _Read) -> None:
    if read.inputs:
        read.container = _container(value)
    elif value == "mpegts":
        read.before += ["-f", value]
    else:
        raise ProfileError("must leave the format of its input to ffmpeg: remove the -f before -i")


def _container(name: str) -> Container:
    if name not in _CONTAINERS:
        raise ProfileError(f"must write a format that can be sent: set -f to {', '.join(_CONTAINERS)}")
    return _CONTAINERS[name]


def _current(read: _Read) -> list[str]:
    return read.after if read.inputs else read.before


def _shown(word: str) -> str:
    return word if len(word) <= 40 else word[:40] + "..."
