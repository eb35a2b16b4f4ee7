"""Which of ffmpeg's options a raw template may have, and which values.

This is a list of what is allowed. ffmpeg has far more options than anybody has looked at, in every version others, and
many of them open files and addresses, or load libraries.
"""

import re
from collections.abc import Callable, Mapping

from streamproxy.formats.transcoding.errors import ProfileError
from streamproxy.formats.transcoding.filtergraph import check_filters

Check = Callable[[str, str], None]
"""Looks at an option, as it was written, and its value.

Raises ProfileError for a value that is not allowed.
"""

_SPECIFIER = re.compile(r"-([A-Za-z][A-Za-z0-9_-]*)((?::[A-Za-z0-9]{1,8}){0,3})")
_PLAIN = re.compile(r"[A-Za-z0-9_+][A-Za-z0-9_+.,:=-]{0,199}|-[0-9.]{1,12}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,12}(?:\.[0-9]{1,9})?(?:[kKMGm]i?)?[bB]?")
_TEXT = re.compile(r"[^\x00-\x1f\x7f]{0,200}")
_MAP = re.compile(r"-?0(?::[A-Za-z0-9]{1,8}){0,3}\??|-?\[[A-Za-z0-9_]{1,32}\]")
_DEVICE = re.compile(r"/dev/dri/(?:renderD|card)[0-9]{1,3}|[0-9]{1,3}|[a-z][a-z0-9]{0,15}")
_NEW_DEVICE = re.compile(
    r"(?:cuda|vaapi|qsv|vulkan|opencl|drm|videotoolbox)(?:=[a-z][a-z0-9]{0,15})?"
    r"(?:[:@](?:/dev/dri/(?:renderD|card)[0-9]{1,3}|[0-9]{1,3}|[a-z][a-z0-9]{0,15}))?"
)
_EXPRESSION = re.compile(r"(?:expr:)?[A-Za-z0-9_+.,*/()\\ -]{0,200}")
_WORD = re.compile(r"[A-Za-z0-9_.+-]{1,64}")

# Keys of encoders' own parameters; others write statistics, read tables, or dump pictures.
_PARAMETER_NAMES = """
8x8dct annexb aq-mode aq-strength b-adapt b-bias b-pyramid bframes bitrate bluray-compat cabac chroma-qp-offset
colormatrix colorprim crf crf-max ctu cutree deblock direct enable-overlays fast-decode fgs film-grain force-cfr
frame-threads fullrange gop-lookahead hdr-opt hierarchical-levels high-tier info interlaced intra-refresh ipratio
irefresh-type keyint level level-idc log-level lookahead lookahead-slices lookahead-threads lp max-merge mbtree me
merange min-keyint mixed-refs nal-hrd no-cabac no-deblock no-info no-mbtree no-open-gop no-sao no-scenecut open-gop
overscan partitions pbratio pools pred-struct preset profile psy psy-rd psy-rdoq qcomp qp qpmax qpmin qpstep range rc
rc-lookahead rd rdoq-level rect ref repeat-headers sao scd scenecut sliced-threads slices strong-intra-smoothing subme
sync-lookahead threads tile-columns tile-rows transfer trellis tu-inter-depth tu-intra-depth tune vbv-bufsize vbv-init
vbv-maxrate videoformat wavefront weightb weightp wpp
"""
_PARAMETERS = frozenset(_PARAMETER_NAMES.split())
_NUMBERS = """
ab ac aframes analyzeduration ar b bf bt bufsize compression_level cq crf crf_max cutoff duration extra_hw_frames
filter_threads fpsprobesize frames g global_quality init_qp keyint_min level look_ahead_depth max_delay max_error_rate
max_interleave_delta max_muxing_queue_size maxrate minrate muxdelay muxpreload pat_period pcr_period probesize q qcomp
qdiff qmax qmin qp qp_b qp_i qp_p qscale r rc-lookahead refs sc_threshold sdt_period slices stats_period t
thread_queue_size threads vb vframes
"""
_PLAIN_ONES = """
acodec adrift_threshold application aq-mode aq-strength aq_mode arnr-max-frames arnr-strength aspect async_depth
auto-alt-ref avoid_negative_ts b_adapt b_ref_mode b_strategy boundary_tag c ch_layout channel_layout
cluster_size_limit cluster_time_limit codec coder color_primaries color_range color_trc colorspace cpu-used
cues_to_front deadline delay dts_delta_threshold dts_error_threshold enc_time_base err_detect error-resilience
error-resilient fec fflags field_order flags flags2 flush_packets forced-idr forced_idr fps_mode frag_duration
frag_size frag_type frame_duration gpu hwaccel hwaccel_output_format idr_interval intra-refresh
lag-in-frames latency live loglevel look_ahead low_power map_chapters map_metadata me_method me_range
min_frag_duration motion-est movflags mpegts_flags mpegts_original_network_id mpegts_pmt_start_pid mpegts_service_id
mpegts_service_type mpegts_start_pid mpegts_transport_stream_id multipass no-scenecut nonref_p packet_loss
pass_through pix_fmt pred preset profile quality rc rc_mode rdo realtime row-mt s scenario skip_frame spatial-aq
spatial_aq strict strict_gop surfaces tag temporal-aq temporal_aq thread_type tier tile-columns tile-rows tiles top
tune usage v vbaq vbr vcodec video_track_timescale vsync weighted_pred write_tmcd zerolatency
"""
_FLAG_NAMES = "an copyts dn hide_banner ignore_unknown nostats nostdin re shortest sn start_at_zero stats vn y"
_LEFT_OUT_NAMES = """
allowed_extensions cookies extension_picky headers hls_allow_cache hls_base_url hls_delete_threshold hls_flags
hls_init_time hls_list_size hls_playlist_type hls_segment_filename hls_segment_type hls_time http_persistent
live_start_index master_pl_name multiple_requests protocol_whitelist reconnect reconnect_at_eof reconnect_delay_max
reconnect_max_retries reconnect_on_http_error reconnect_on_network_error reconnect_streamed referer rw_timeout
start_number timeout user-agent user_agent
"""
_BITSTREAM_FILTERS = frozenset(
    {
        "aac_adtstoasc",
        "dump_extra",
        "extract_extradata",
        "h264_metadata",
        "h264_mp4toannexb",
        "hevc_metadata",
        "hevc_mp4toannexb",
        "null",
        "pcm_rechunk",
        "setts",
    }
)


def name_of(word: str) -> str:
    """Return an option's name without the streams that it is for, such as `b` of `-b:v:0`; empty if it is none."""
    found = _SPECIFIER.fullmatch(word)
    return found[1] if found else ""


def _matching(pattern: re.Pattern[str]) -> Check:
    def check(option: str, value: str) -> None:
        if not pattern.fullmatch(value):
            raise _refused(option)

    return check


def _refused(option: str) -> ProfileError:
    return ProfileError(f"has a value that is not among those allowed: change or remove {option}")


def _parameters(option: str, value: str) -> None:
    for parameter in value.split(":"):
        key, _, _ = parameter.partition("=")
        if key not in _PARAMETERS or not _PLAIN.fullmatch(parameter):
            raise _refused(option)


def _bitstream_filters(option: str, value: str) -> None:
    for one in value.split(","):
        if one.partition("=")[0] not in _BITSTREAM_FILTERS or not _PLAIN.fullmatch(one):
            raise _refused(option)


def _of_either(names: str, check: Check) -> dict[str, Check]:
    return dict.fromkeys(names.split(), check)


FLAGS = frozenset(_FLAG_NAMES.split())
"""Options without a value."""

OPTIONS: Mapping[str, Check] = {
    **_of_either(_NUMBERS, _matching(_NUMBER)),
    **_of_either(_PLAIN_ONES, _matching(_PLAIN)),
    **_of_either("af filter filter_complex lavfi vf", check_filters),
    **_of_either("aom-params svtav1-params x264-params x264opts x265-params", _parameters),
    **_of_either("bsf absf vbsf", _bitstream_filters),
    **_of_either("hwaccel_device vaapi_device qsv_device filter_hw_device", _matching(_DEVICE)),
    "force_key_frames": _matching(_EXPRESSION),
    "init_hw_device": _matching(_NEW_DEVICE),
    "map": _matching(_MAP),
    "metadata": _matching(_TEXT),
    "async": _matching(_NUMBER),
    "disposition": _matching(_WORD),
}
"""Options with a value, by name, and what looks at it. Of one that has none, the value would be a file to write to."""

LEFT_OUT = frozenset(_LEFT_OUT_NAMES.split())
"""Options with a value that are left out: the proxy fetches the stream and cuts it into segments itself."""
