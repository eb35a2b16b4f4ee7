"""The way from an upstream's address to its media playlist, and back to it whenever that is loaded again."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from streamproxy.errors import UpstreamBroken, UpstreamError, UpstreamNotMedia, UpstreamRefused, UpstreamStalled
from streamproxy.formats import urls
from streamproxy.formats.hls.alignment import Listing, listing
from streamproxy.formats.hls.errors import HlsError
from streamproxy.formats.hls.model import MediaPlaylist, MediaSegment, MultivariantPlaylist, Variant
from streamproxy.formats.hls.read import read
from streamproxy.formats.hls.renditions import SoundApart, in_order, self_selecting_first, sound_of
from streamproxy.formats.kinds import kind_of_bytes
from streamproxy.formats.packing import DamagedError, Unpacker
from streamproxy.model import Upstream
from streamproxy.sources.client import Client
from streamproxy.sources.retrieval import EXPIRED

MAX_SIZE = 8 << 20
"""Bytes of a playlist, unpacked."""

_MOST_FETCHES = 8
"""Playlists loaded to find one that can be played."""
_MOST_LEVELS = 3
"""Multivariant playlists below each other."""
_RECENT = 128
_SEARCH_PAUSE = 5.0
"""Seconds from one search to the next, at least."""
_LONG = 1 << 16
"""Characters above which a playlist is read in a thread."""
_HEAD = 1024
"""Characters by which something else is told from a playlist."""
_NOBODY_IS_LET_IN = frozenset({401, 403, 407})

Load = Callable[[str, Mapping[str, str]], Awaitable[Listing | MultivariantPlaylist]]
"""Loads the playlist at an address, given the variables defined above it. Raises UpstreamError."""


@dataclass(frozen=True, slots=True)
class Found:
    """What is to be played.

    Attributes:
        picture: What has the picture, and the sound if that does not come apart.
        sound: What has the sound; None if it does not come apart.
        variables: What was defined above both.
    """

    picture: Listing
    sound: Listing | None
    variables: Mapping[str, str] = field(repr=False)


class PlaylistLoader:
    """Finds the media playlist of an upstream, and loads it again.

    It is loaded from where it was found, redirects included, as long as that works: to servers that hand out sessions
    each visit to the upstream's own address is another viewer.
    """

    def __init__(
        self,
        upstream: Upstream,
        client: Client,
        *,
        timeout: float,
        quality: str,
        clock: Callable[[], float],
        joins: bool = False,
    ) -> None:
        """Prepare, without opening anything.

        Args:
            upstream: Where to begin.
            client: What to ask with.
            timeout: Seconds that loading one playlist may take.
            quality: Which variant to take: `best`, `worst`, a height (`720p`) or a bandwidth (`3000k`).
            clock: Returns a time in seconds that never goes backwards.
            joins: Whether picture and sound may come apart.
        """
        self._upstream = upstream
        self._client = client
        self._timeout = timeout
        self._quality = quality
        self._clock = clock
        self._joins = joins
        self._takes_sound = False
        self._url = upstream.url
        self._variables: Mapping[str, str] = {}
        self._newest: MediaPlaylist | None = None
        self._searched_at: float | None = None
        self._searching = asyncio.Lock()

    async def find(self) -> Found:
        """Begin at the upstream's own address, and choose until there is a media playlist.

        Raises:
            UpstreamError: There is none that can be played.
        """
        found = await self._search()
        # What comes as one does not come apart later, and the other way round.
        self._joins = found.sound is not None
        return found

    def for_sound(self, found: Found) -> "PlaylistLoader":
        """Make a loader of the sound that was found to come apart."""
        assert found.sound is not None
        other = PlaylistLoader(
            self._upstream, self._client, timeout=self._timeout, quality=self._quality, clock=self._clock, joins=True
        )
        other._takes_sound = True
        other._searched_at = self._searched_at
        other._keep_found(found)
        return other

    async def reload(self) -> MediaPlaylist:
        """Load it again; where its address is good no more, find it again, but not all the time.

        Raises:
            UpstreamError: It cannot be had now, which may pass.
        """
        try:
            playlist = await self._load_again()
        except UpstreamBroken:
            # A connection that was dropped is often one that the other side had just given up; the next one works.
            playlist = await self._load_again()
        except (UpstreamRefused, UpstreamNotMedia) as error:
            expired = isinstance(error, UpstreamNotMedia) or error.status in EXPIRED
            # Without redirects and variants, there is no other address.
            if not expired or self._url == self._upstream.url or not self._may_search():
                raise
            await self._search()
            assert self._newest is not None
            return self._newest
        if isinstance(playlist, MultivariantPlaylist):
            raise UpstreamNotMedia(self._upstream.label, "the upstream's playlist lists no segments any more")
        return self._keep(playlist)

    def address(self, segment: MediaSegment) -> str:
        """Return the newest address of a segment: providers sign those of each load anew."""
        newest = self._newest
        if newest is None or not newest.segments:
            return segment.url
        if newest.has_sequence or newest.ended:
            index = segment.sequence - newest.segments[0].sequence
            found = newest.segments[index : index + 1] if index >= 0 else ()
        else:
            name = urls.identity(segment.url)
            found = tuple(other for other in newest.segments[-_RECENT:] if urls.identity(other.url) == name)
        # Numbers alone do not tell: they may have begun anew.
        same = (
            other.url
            for other in found
            if _file_name(other.url) == _file_name(segment.url) and other.byte_range == segment.byte_range
        )
        return next(same, segment.url)

    async def renew(self, segment: MediaSegment, refused: str) -> str | None:
        """Find another address of a segment, whose newest was refused; None if there is no other."""
        async with self._searching:
            url = self.address(segment)
            if url == refused and self._may_search():
                try:
                    await self._search()
                except UpstreamError:
                    return None
                url = self.address(segment)
            return url if url != refused else None

    async def _search(self) -> Found:
        self._searched_at = self._clock()
        search = _Search(self._load_first, self._upstream.label, self._quality, joins=self._joins)
        found = await search.run(self._upstream.url)
        self._keep_found(found)
        return found

    def _keep_found(self, found: Found) -> None:
        taken = found.sound if self._takes_sound else found.picture
        if taken is None:
            raise UpstreamNotMedia(
                self._upstream.label, "the upstream's sound comes in no playlist of its own any more"
            )
        self._variables = found.variables
        self._keep(taken.playlist)

    def _keep(self, playlist: MediaPlaylist) -> MediaPlaylist:
        self._url = playlist.url
        self._newest = playlist
        return playlist

    def _may_search(self) -> bool:
        return self._searched_at is None or self._clock() - self._searched_at >= _SEARCH_PAUSE

    async def _load_again(self) -> MediaPlaylist | MultivariantPlaylist:
        return (await self._load(self._url, self._variables))[0]

    async def _load_first(self, url: str, variables: Mapping[str, str]) -> Listing | MultivariantPlaylist:
        playlist, text = await self._load(url, variables)
        if isinstance(playlist, MultivariantPlaylist):
            return self_selecting_first(playlist, text)
        # Dates are for bringing sound to its picture.
        if not self._joins:
            return Listing(playlist, (None,) * len(playlist.segments))
        if len(text) > _LONG:
            return await asyncio.to_thread(listing, playlist, text)
        return listing(playlist, text)

    async def _load(self, url: str, variables: Mapping[str, str]) -> tuple[MediaPlaylist | MultivariantPlaylist, str]:
        """Return a playlist, and its text."""
        text, final_url = await self._fetch(url)
        try:
            if len(text) > _LONG:
                return await asyncio.to_thread(read, text, final_url, variables=variables), text
            return read(text, final_url, variables=variables), text
        except HlsError as error:
            # What a variant turns out to be is not what the upstream is.
            is_its_own = url == self._upstream.url
            kind = kind_of_bytes(text[:_HEAD].encode("utf-8", "surrogateescape")) if is_its_own else None
            reason = f"the upstream's playlist cannot be used: {error}"
            raise UpstreamNotMedia(self._upstream.label, reason, kind) from None

    async def _fetch(self, url: str) -> tuple[str, str]:
        """Return a playlist's text, and where it came from after redirects."""
        text, unpacker, addresses = bytearray(), Unpacker(), [url]
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.open(replace(self._upstream, url=url), moved=addresses.append) as response,
            ):
                async for data in response.content.iter_any():
                    # Playlists come in gzip whether or not that was asked for.
                    for piece in unpacker.feed(data):
                        text += piece
                        if len(text) > MAX_SIZE:
                            raise self._too_large()
                text += unpacker.finish()
                return text.decode(errors="surrogateescape"), addresses[-1]
        except DamagedError as error:
            raise UpstreamNotMedia(self._upstream.label, f"the upstream's playlist is {error}") from None
        except TimeoutError:
            raise UpstreamStalled(
                self._upstream.label, f"the upstream's playlist was not complete within {self._timeout:g} s"
            ) from None

    def _too_large(self) -> UpstreamNotMedia:
        return UpstreamNotMedia(self._upstream.label, f"the upstream's playlist has more than {MAX_SIZE >> 20} MiB")


def _file_name(url: str) -> str:
    return url.partition("?")[0].rpartition("/")[2]


class _Search:
    """One way down from an address to what can be played."""

    def __init__(self, load: Load, label: str, quality: str, *, joins: bool) -> None:
        self._load = load
        self._label = label
        self._quality = quality
        self._joins = joins
        self._left = _MOST_FETCHES
        self._seen: set[str] = set()

    async def run(self, url: str, above: Mapping[str, str] | None = None, levels: int = _MOST_LEVELS) -> Found:
        """Find it. Of several variants the next best is taken where one cannot be had.

        Args:
            url: Where to begin.
            above: Variables defined so far.
            levels: Multivariant playlists that may still come.

        Raises:
            UpstreamError: Why it is not to be found; of several reasons the first, which is that of the best variant.
        """
        loaded = await self._open(url, above or {})
        if isinstance(loaded, Listing):
            if loaded.playlist.i_frames_only:
                raise UpstreamNotMedia(self._label, "the upstream's playlist holds only key frames")
            return Found(loaded, None, above or {})
        if not levels:
            raise UpstreamNotMedia(self._label, "the upstream's playlists only lead to further ones")
        failure: UpstreamError | None = None
        for variant in self._candidates(loaded):
            if not self._left:
                break
            if variant.url in self._seen:
                continue
            try:
                return await self._with_sound(
                    loaded, variant, await self.run(variant.url, loaded.variables, levels - 1)
                )
            except UpstreamError as error:
                if isinstance(error, UpstreamRefused) and error.status in _NOBODY_IS_LET_IN:
                    raise
                failure = failure or error
        raise failure or UpstreamNotMedia(self._label, "the upstream's playlist lists no stream that can be played")

    async def _with_sound(self, playlist: MultivariantPlaylist, variant: Variant, found: Found) -> Found:
        """Find the sound, too, where it comes apart."""
        rendition = sound_of(playlist, variant)
        if rendition is None or rendition.url is None or found.sound is not None:
            return found
        if not self._left:
            raise UpstreamNotMedia(self._label, "its sound was not found among its many playlists")
        sound = await self._open(rendition.url, playlist.variables)
        if not isinstance(sound, Listing):
            raise UpstreamNotMedia(self._label, "the playlist of its sound lists no segments")
        return replace(found, sound=sound)

    async def _open(self, url: str, variables: Mapping[str, str]) -> Listing | MultivariantPlaylist:
        self._seen.add(url)
        self._left -= 1
        try:
            return await self._load(url, variables)
        except UpstreamBroken:
            # A connection that was dropped is often one that the other side had just given up; the next one works.
            if not self._left:
                raise
            self._left -= 1
            return await self._load(url, variables)

    def _candidates(self, playlist: MultivariantPlaylist) -> Iterator[Variant]:
        """Give variants, best first, that can be played with their sound."""
        try:
            yield from in_order(playlist, self._quality, joins=self._joins)
        except SoundApart:
            raise UpstreamNotMedia(
                self._label,
                "its sound comes apart from its picture, and joining them needs ffmpeg, which is not installed here;"
                " most systems have it as a package of that name (apt install ffmpeg)",
            ) from None
        except ValueError as error:
            raise UpstreamNotMedia(self._label, str(error)) from None
