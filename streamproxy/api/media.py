"""What players ask for, described for those who read about the API."""

from streamproxy.api.contract import Operation
from streamproxy.api.models import Model


class ListQuery(Model):
    """Which list is wanted."""

    group: str | None = None
    """Only the channels of this group."""
    output: str | None = None
    """In which form channels that come as HLS are wanted, ts or hls; what hls.output says if there is none."""


class WatchQuery(Model):
    """Who watches."""

    client_id: str | None = None
    """Tells this client from others; one is made of address, User-Agent and name if there is none."""
    username: str | None = None
    """A name to show who watches."""


_UPSTREAM = {
    404: "There is no such stream",
    502: "No upstream could be had",
    503: "All connections of the provider are in use, or the stream is off the air",
    504: "No upstream answered in time",
}
_LIST = Operation(
    "Load the list of channels",
    "The list is written for the address under which the client reaches the program.",
    query=ListQuery,
    media_type="audio/x-mpegurl",
)
_LIVE = "For live streams a body without an end; of a file, parts may be asked for with `Range`."
MEDIA = {
    ("GET", "/playlist.m3u"): _LIST,
    ("GET", "/playlist.m3u8"): _LIST,
    ("GET", "/stream/{id}"): Operation(
        "Watch a stream", _LIVE, query=WatchQuery, media_type="video/mp2t", errors=_UPSTREAM
    ),
    ("HEAD", "/stream/{id}"): Operation(
        "Look what a stream is", "No upstream is opened for it.", media_type="video/mp2t", errors=_UPSTREAM
    ),
    ("GET", "/hls/{id}/playlist.m3u8"): Operation(
        "Watch a stream as HLS",
        "The playlist; what it leads to is behind addresses that cannot be guessed.",
        query=WatchQuery,
        media_type="application/vnd.apple.mpegurl",
        errors=_UPSTREAM,
    ),
}
"""By method and path; what is not in it is nobody's to ask for without having been told its address."""
