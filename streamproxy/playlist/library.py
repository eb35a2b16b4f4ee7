"""Keeps the catalog: loads every list once, and goes on asking for those that failed."""

import asyncio
import gc
import random
import sys
from types import TracebackType

import structlog

from streamproxy.config import Config, PlaylistConfig
from streamproxy.errors import PlaylistError
from streamproxy.model import Channel
from streamproxy.playlist.cache import LastGood
from streamproxy.playlist.catalog import Catalog, build, without_extension
from streamproxy.playlist.created import CreatedStreams
from streamproxy.playlist.loader import Fetch, LoadedList, load, read
from streamproxy.playlist.variants import is_profile, split, transcoded
from streamproxy.tasks import Tasks

_log = structlog.stdlib.get_logger("streamproxy")

_GIVE_WAY_AFTER = 0.0005
"""Seconds."""

_FIRST_PAUSE = 5.0
_LONGEST_PAUSE = 300.0

_EMPTY = Catalog({}, (b"#EXTM3U\n",), (b"#EXTM3U\n",), {}, "")


class Library:
    """The current catalog, and where it comes from.

    Attributes:
        catalog: The channels now; replaced whole.
        created: Those that were made through the API.
    """

    def __init__(
        self, fetch: Fetch, tasks: Tasks, *, created: CreatedStreams | None = None, patience: float = 5.0
    ) -> None:
        """Start empty.

        Args:
            fetch: Downloads a list.
            tasks: Where lists that failed are tried again.
            created: Channels that were made through the API; None for none yet.
            patience: Seconds to wait for slow lists before serving without them, or from their last good copy.
        """
        self.catalog = _EMPTY
        self.created = CreatedStreams() if created is None else created
        self._fetch = fetch
        self._tasks = tasks
        self._patience = patience
        self._config = Config()
        self._lists: list[LoadedList | None] = []
        self._late: list[asyncio.Task[None]] = []
        self._building = asyncio.Lock()
        self._courtesy = _Courtesy()

    @property
    def size(self) -> int:
        """How many channels there are in all."""
        return len(self.catalog) + len(self.created)

    def find(self, name: str) -> Channel | None:
        """Look a channel up by its id, with or without the extension of a media file behind it."""
        return self.catalog.find(name) or self.created.find(name) or self._find_transcoded(without_extension(name))

    def _find_transcoded(self, name: str) -> Channel | None:
        channel_id, profile = split(name)
        if not channel_id or not is_profile(self._config, profile):
            return None
        channel = self.catalog.find(channel_id) or self.created.find(channel_id)
        return transcoded(channel, profile) if channel and channel.transcode is None else None

    async def load(self, config: Config) -> None:
        """Load the lists of a configuration, side by side, and put the new catalog in place.

        A list that fails or is slow is there with its last good copy, and is tried again in the background until it
        is fresh.
        """
        with self._courtesy:
            await self._load(config)

    async def _load(self, config: Config) -> None:
        self.created.configure(config)
        for task in self._late:
            task.cancel()
        attempts = [asyncio.create_task(load(settings, self._fetch)) for settings in config.playlists]
        try:
            if attempts:
                await asyncio.wait(attempts, timeout=self._patience)
        except asyncio.CancelledError:
            for attempt in attempts:
                attempt.cancel()
            raise
        self._config = config
        self._late = []
        self._lists = [None] * len(attempts)
        for index, (settings, attempt) in enumerate(zip(config.playlists, attempts, strict=True)):
            if attempt.done() and not attempt.exception():
                await self._take(index, attempt.result())
            else:
                self._lists[index] = await asyncio.to_thread(self._last_good, settings)
                work = self._try_until_fresh(index, settings, attempt)
                self._late.append(self._tasks.start(work, name=f"playlist {settings.name}"))
        await self._publish()

    async def _try_until_fresh(self, index: int, settings: PlaylistConfig, attempt: asyncio.Task[LoadedList]) -> None:
        """Follow an attempt that has failed or is under way with others, until one succeeds."""
        pause = _FIRST_PAUSE
        while True:
            try:
                with self._courtesy:
                    loaded = await attempt
                break
            except PlaylistError as error:
                _log.warning("playlist_failed", playlist=settings.name, reason=str(error), next_try_in=round(pause))
            # Not all at the same moment, if it is the provider that is down.
            await asyncio.sleep(pause * random.uniform(0.8, 1.2))  # noqa: S311 -- no secret depends on it
            pause = min(2 * pause, _LONGEST_PAUSE)
            attempt = asyncio.create_task(load(settings, self._fetch))
        with self._courtesy:
            await self._take(index, loaded)
            await self._publish()

    async def _take(self, index: int, loaded: LoadedList) -> None:
        self._lists[index] = loaded
        if loaded.settings.path is None:
            try:
                await asyncio.to_thread(LastGood(self._config.cache_dir).write, loaded.settings, loaded.body)
            except OSError as error:
                folder = str(self._config.cache_dir)
                _log.warning("cache_not_written", folder=folder, reason=error.strerror, remedy="set cache_dir")

    def _last_good(self, settings: PlaylistConfig) -> LoadedList | None:
        body = LastGood(self._config.cache_dir).read(settings)
        if body is None:
            return None
        try:
            return read(settings, body)
        except PlaylistError:
            return None

    async def _publish(self) -> None:
        """Build the catalog of what is there, off the event loop, and put it in place."""
        async with self._building:
            lists = [loaded for loaded in self._lists if loaded]
            catalog, left_out = await asyncio.to_thread(build, self._config, lists)
            self.catalog = catalog
        _log.info("catalog_ready", channels=len(catalog), lists=len(lists), left_out=dict(left_out))


class _Courtesy:
    """Lets the event loop, and with it every stream, go on while threads make channels by the hundred thousand.

    For 100,000 channels each walk of the garbage collector through them would stop the loop for a quarter of a
    second, so it rests: nothing of a catalog is garbage in cycles, and counting references frees the old one. And the
    threads give way every half a millisecond instead of every five.
    """

    def __init__(self) -> None:
        self._guests = 0
        self._usual = sys.getswitchinterval()

    def __enter__(self) -> None:
        self._guests += 1
        gc.disable()
        sys.setswitchinterval(_GIVE_WAY_AFTER)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._guests -= 1
        if not self._guests:
            gc.freeze()
            gc.enable()
            sys.setswitchinterval(self._usual)
