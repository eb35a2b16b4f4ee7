"""Web pages looked at with streamlink: the one place that knows it."""

import atexit
import importlib
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from typing import Any, Protocol

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamOffline, UpstreamRefused
from streamproxy.formats import urls
from streamproxy.model import StreamKind, Upstream
from streamproxy.sources.pages import ResolvedStream

_NOT_FOR_PAGES = frozenset({"dash", "hls", "http"})
"""Plugins that only ask once more for what is known to be a page."""
_OF_THE_SITE = frozenset({"authorization", "cookie"})
"""Request headers of a channel that are for its site only."""

_LINES = re.compile(r"([0-9]{1,6})p")
_KILOBITS = re.compile(r"(?:[0-9]{1,6}p[0-9+]*[a_])?([0-9]{1,9})k")
_HEIGHT = re.compile(r"([0-9]{1,6})p", re.IGNORECASE)
_BANDWIDTH = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)([km]?)", re.IGNORECASE)
_FACTORS = {"": 0.001, "k": 1.0, "m": 1000.0}


class _Stream(Protocol):
    """What is used of streamlink's streams that are one address."""

    args: Mapping[str, Any]
    url: str

    def to_manifest_url(self) -> str:
        """Return the address of the playlist of all variants; TypeError where there is none."""


def find_stream(upstream: Upstream, quality: str, timeout: float) -> ResolvedStream:
    """Find the stream of a page with streamlink, which is imported here: it takes time and memory. Blocks.

    Args:
        upstream: The page.
        quality: Which stream to take.
        timeout: Seconds for each request.

    Raises:
        UpstreamOffline: There is none at present.
        UpstreamNotMedia: There is none that can be played, or no streamlink.
        UpstreamError: The page could not be read.
    """
    label = upstream.label
    try:
        streamlink = importlib.import_module("streamlink")
    except ModuleNotFoundError as error:
        if error.name != "streamlink":
            raise
        reason = "the upstream is a web page; playing those needs the extra: pip install 'streamproxy[streamlink]'"
        raise UpstreamNotMedia(label, reason) from None
    # What it says holds addresses.
    logging.getLogger("streamlink").setLevel(logging.CRITICAL + 1)
    # One for each look, since plugins leave cookies and headers in it.
    session = streamlink.Streamlink(_options(upstream, timeout))
    with closing(session.http):
        session.http.adapters.pop("file://", None)
        try:
            streams = _plugin_streams(session, upstream)
        except streamlink.PluginError as error:
            raise _read_failure(error, label) from None
        if not streams:
            raise UpstreamOffline(label, "the web page has no stream at present")
        return _take(streams, quality, session, upstream)


def _plugin_streams(session: Any, upstream: Upstream) -> Mapping[str, Any]:
    """Have the plugin of a page look at it.

    Not by what the session has for that: it keeps itself for ever, and asks once more for what is no site's page, such
    as a provider's word on an account that has expired.
    """
    name, plugin_class = session.plugins.match_url(upstream.url) or ("", None)
    if plugin_class is None or name in _NOT_FOR_PAGES:
        raise UpstreamNotMedia(upstream.label, "the upstream is a web page that streamlink has no plugin for")
    plugin = plugin_class(session, upstream.url)
    try:
        streams: Mapping[str, Any] = plugin.streams()
    finally:
        # Each plugin leaves its cache there, which would be kept until the program ends.
        if save := getattr(plugin.cache, "_save", None):
            atexit.unregister(save)
    return streams


def _options(upstream: Upstream, timeout: float) -> dict[str, Any]:
    return {
        "http-timeout": timeout,
        "http-headers": {name: value for name, value in upstream.headers.items() if urls.is_header(name, value)},
        # Sites tie addresses to who asked for them, and streams are not read through a proxy of the environment.
        "http-trust-env": False,
        "no-plugin-cache": True,
        "webbrowser": False,
    }


def _read_failure(error: Exception, label: str) -> UpstreamError:
    """Translate what a plugin raised; its text holds addresses."""
    causes: list[BaseException] = [error]
    while cause := getattr(causes[-1], "err", None) or causes[-1].__cause__:
        causes.append(cause)
    for cause in causes:
        status = getattr(getattr(cause, "response", None), "status_code", None)
        if isinstance(status, int):
            return UpstreamRefused(label, status)
    return UpstreamBroken(label, f"streamlink cannot read the web page: {type(causes[-1]).__name__}")


def _take(streams: Mapping[str, Any], quality: str, session: Any, upstream: Upstream) -> ResolvedStream:
    """Choose among the streams of a page.

    Of HLS it is the playlist of all variants that is taken, where there is one. So addresses of variants that expire
    can be found again, and variants without sound are known as such.
    """
    for stream, kind in _playable(streams, quality):
        url = _playlist_of_all(stream) or stream.url
        if not urls.is_http(url):
            continue
        request = session.http.prepare_new_request(**{**stream.args, "url": url})
        if request.method == "GET" and not request.body:
            return ResolvedStream(url, _headers(request.headers, url, upstream), kind)
    kinds = ", ".join(sorted({type(stream).shortname() for stream in streams.values()}))
    raise UpstreamNotMedia(upstream.label, f"the streams of the web page are none that can be played: {kinds}")


def _playable(streams: Mapping[str, Any], quality: str) -> Iterator[tuple[_Stream, StreamKind]]:
    """Give those that are HLS or, where there are none, plain HTTP: what to take first, first."""
    hls = importlib.import_module("streamlink.stream.hls")
    http = importlib.import_module("streamlink.stream.http")
    playlists = {name: each for name, each in streams.items() if isinstance(each, hls.HLSStream | hls.MuxedHLSStream)}
    chosen = playlists or {name: each for name, each in streams.items() if isinstance(each, http.HTTPStream)}
    for name in preferred([name for name in streams if name in chosen], quality):
        stream = chosen[name]
        if isinstance(stream, hls.MuxedHLSStream):
            # Its picture and sound are apart. The playlist of all variants may have one that is whole.
            stream = stream.substreams[0]
            if not _playlist_of_all(stream):
                continue
        yield stream, StreamKind.HLS if playlists else StreamKind.LIVE


def _playlist_of_all(stream: _Stream) -> str | None:
    try:
        return stream.to_manifest_url()
    except TypeError:
        return None


def _headers(prepared: Mapping[str, Any], url: str, upstream: Upstream) -> dict[str, str]:
    """Return what streamlink would ask with, without what the channel's configuration means for the page's site."""
    headers = {
        name: value.decode("latin-1") if isinstance(value, bytes) else str(value) for name, value in prepared.items()
    }
    secrets = set()
    if urls.host(url) != urls.host(upstream.url):
        secrets = {value for name, value in upstream.headers.items() if name.lower() in _OF_THE_SITE}
    return {name: value for name, value in headers.items() if urls.is_header(name, value) and value not in secrets}


def preferred(names: Sequence[str], quality: str) -> list[str]:
    """Order the names of streams, as streamlink gives them, by what to take first.

    Args:
        names: Ascending, then `worst` and `best` if it knows them; such as `live`, `720p`, `1080p60`, `3000k`.
        quality: `best` or `worst`; a height (`720p`) or a bandwidth (`3000k`, `2.5m`, `2500000`), for the best that
            are no more, and after those the others, lowest first. Names that do not say come last.
    """
    best = sorted(names, key=lambda name: name != "worst")
    best.reverse()
    height, bandwidth = _HEIGHT.fullmatch(quality), _BANDWIDTH.fullmatch(quality)
    if height:
        most, measure = float(height[1]), _LINES
    elif bandwidth:
        most, measure = float(bandwidth[1]) * _FACTORS[bandwidth[2].lower()], _KILOBITS
    elif quality == "worst":
        return best[::-1]
    else:
        return best
    sizes = {name: float(match[1]) for name in best if (match := measure.match(name))}
    exact = quality.lower()
    within = sorted((name for name in sizes if sizes[name] <= most), key=lambda name: (-sizes[name], name != exact))
    above = sorted((name for name in sizes if sizes[name] > most), key=sizes.__getitem__)
    return [*within, *above, *(name for name in best if name not in sizes)]
