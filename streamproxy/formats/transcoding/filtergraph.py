"""Which of ffmpeg's filters a raw template may have.

Filters such as movie, subtitles, lut3d and sendcmd read files; newer versions read any option from a file whose name
begins with a slash. So, the ones that are known to do neither are listed, and text that has to be unescaped twice is
refused.
"""

import re
from collections.abc import Iterator

from streamproxy.formats.transcoding.errors import ProfileError

_NAMES = """
acompressor adelay aeval afade aformat alimiter anull apad aresample asetnsamples asetpts asetrate asplit atempo atrim
bass bwdif bwdif_cuda bwdif_vulkan channelmap channelsplit colorspace crop deband deblock deflicker deinterlace_qsv
deinterlace_vaapi denoise_vaapi drawbox dynaudnorm eq equalizer estdif fade fieldmatch fieldorder format fps framerate
gradfun hflip highpass hqdn3d hue hwdownload hwmap hwupload hwupload_cuda idet il interlace kerndeint loudnorm lowpass
mpdecimate nlmeans noformat null overlay_cuda pad pan procamp_vaapi removegrain rotate scale scale_cuda scale_npp
scale_qsv scale_vaapi scale_vt setdar setfield setparams setpts setrange setsar settb sharpness_vaapi smartblur split
stereo3d superequalizer telecine tinterlace tonemap tonemap_cuda tonemap_opencl tonemap_vaapi transpose transpose_cuda
transpose_vaapi treble trim unsharp vflip volume vpp_qsv w3fdif yadif yadif_cuda yadif_videotoolbox zscale
"""
_FILTERS = frozenset(_NAMES.split())
_NAME = re.compile(r"([a-z0-9_]+)(?:@[A-Za-z0-9_]{1,32})?")
_LABEL = re.compile(r"\[[A-Za-z0-9_:]{1,32}\]")
_OPTION = re.compile(r"[a-z0-9_A-Z]{1,40}=.*|[^=/].*|")
_TEXT = re.compile(r"[A-Za-z0-9_ +\-*/(),.:;=|\[\]\\'<>&!@#%^]{0,1000}")


def check_filters(option: str, value: str) -> None:
    """Look at a graph of filters.

    Raises:
        ProfileError: It has a filter, or an option, that is not known to be harmless.
    """
    if not _TEXT.fullmatch(value):
        raise ProfileError(f"has filters that cannot be understood: simplify {option}")
    for text in _filters(option, value):
        name, _, told = text.partition("=")
        found = _NAME.fullmatch(name.strip())
        if not found or found[1] not in _FILTERS:
            shown = found[1] if found else "what has no name"
            raise ProfileError(f"has a filter that is not among those allowed: remove {shown} from {option}")
        _check_options(option, told)


def _check_options(option: str, told: str) -> None:
    # People escape commas once more than they need to. What else is left to unescape is understood by ffmpeg alone.
    told = told.replace("\\,", ",")
    if "'" in told or "\\" in told:
        raise ProfileError(f"has filters that are escaped twice: simplify {option}")
    for part in told.split(":"):
        part = part.strip()
        key = part.partition("=")[0] if re.match(r"[a-z0-9_A-Z]+=", part) else ""
        if not _OPTION.fullmatch(part) or "file" in key or key in ("stats", "kernel", "library"):
            raise ProfileError(f"has a filter with an option that is not allowed: simplify {option}")


def _filters(option: str, graph: str) -> Iterator[str]:
    """Part a graph into its filters, without labels; quotes and escapes are taken away, as ffmpeg does."""
    current: list[str] = []
    at = 0
    while at < len(graph):
        letter = graph[at]
        if letter == "'":
            end = graph.find("'", at + 1)
            if end < 0:
                raise ProfileError(f"has a quotation mark that is not closed: simplify {option}")
            current.append(graph[at + 1 : end])
            at = end
        elif letter == "\\":
            at += 1
            current.append(graph[at : at + 1])
        elif letter == "[":
            label = _LABEL.match(graph, at)
            if not label:
                raise ProfileError(f"has filters that cannot be understood: simplify {option}")
            at = label.end() - 1
        elif letter in ",;":
            yield "".join(current)
            current = []
        else:
            current.append(letter)
        at += 1
    yield "".join(current)
