"""The library: lists loaded once, side by side, from their last good copy while a provider is down."""

import asyncio
from pathlib import Path

import pytest

from streamproxy.config import Config
from streamproxy.errors import UpstreamStalled
from streamproxy.model import Upstream
from streamproxy.playlist import library as module
from streamproxy.playlist.library import Library
from streamproxy.tasks import Tasks


def listing(*names: str) -> bytes:
    return b"#EXTM3U\n" + b"".join(f"#EXTINF:-1,{name}\nhttp://h/{name}.ts\n".encode() for name in names)


class Provider:
    """Answers with what it holds; a list without an answer is down, one behind a gate is slow."""

    def __init__(self, **answers: bytes) -> None:
        self.answers = answers
        self.asked: list[str] = []
        self.gates: dict[str, asyncio.Event] = {}

    async def fetch(self, upstream: Upstream, timeout: float) -> bytes:
        self.asked.append(upstream.label)
        if upstream.label in self.gates:
            await self.gates[upstream.label].wait()
        if upstream.label not in self.answers:
            raise UpstreamStalled(upstream.label, "the upstream did not answer")
        return self.answers[upstream.label]


def config(folder: Path, *names: str) -> Config:
    lists = [{"name": name, "url": f"http://h/{name}.m3u"} for name in names]
    return Config.model_validate({"playlists": lists, "cache_dir": str(folder)})


def names(library: Library) -> list[str]:
    return [channel.name for channel in library.catalog.channels.values()]


async def until_channels_are(library: Library, wanted: list[str]) -> None:
    async with asyncio.timeout(5):
        while names(library) != wanted:
            await asyncio.sleep(0)


async def test_each_list_is_fetched_once_and_they_merge_in_order(tmp_path: Path) -> None:
    provider = Provider(one=listing("A", "B"), two=listing("C"))
    async with Tasks() as tasks:
        library = Library(provider.fetch, tasks)

        await library.load(config(tmp_path, "one", "two"))

        assert names(library) == ["A", "B", "C"]
        assert sorted(provider.asked) == ["one", "two"]


async def test_lists_are_fetched_side_by_side(tmp_path: Path) -> None:
    provider = Provider(one=listing("A"), two=listing("B"))
    provider.gates = {"one": asyncio.Event(), "two": asyncio.Event()}
    async with Tasks() as tasks:
        library = Library(provider.fetch, tasks)
        loading = asyncio.create_task(library.load(config(tmp_path, "one", "two")))
        async with asyncio.timeout(5):
            while len(provider.asked) < 2:
                await asyncio.sleep(0)

        for gate in provider.gates.values():
            gate.set()
        await loading

        assert names(library) == ["A", "B"]


async def test_while_a_provider_is_down_its_last_good_copy_is_served(tmp_path: Path) -> None:
    async with Tasks() as tasks:
        await Library(Provider(one=listing("A")).fetch, tasks).load(config(tmp_path, "one"))
    async with Tasks() as tasks:
        library = Library(Provider().fetch, tasks)

        await library.load(config(tmp_path, "one"))

        assert names(library) == ["A"]


async def test_a_web_page_in_place_of_a_list_does_not_replace_the_last_good_copy(tmp_path: Path) -> None:
    async with Tasks() as tasks:
        await Library(Provider(one=listing("A")).fetch, tasks).load(config(tmp_path, "one"))
        library = Library(Provider(one=b"<html>maintenance</html>").fetch, tasks)

        await library.load(config(tmp_path, "one"))
        await library.load(config(tmp_path, "one"))

        assert names(library) == ["A"]


async def test_a_list_that_failed_is_asked_for_until_it_is_fresh(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_FIRST_PAUSE", 0.01)
    provider = Provider(one=listing("A"))
    async with Tasks() as tasks:
        library = Library(provider.fetch, tasks)
        await library.load(config(tmp_path, "one", "two"))
        assert names(library) == ["A"]

        provider.answers["two"] = listing("B")

        await until_channels_are(library, ["A", "B"])
        assert provider.asked.count("one") == 1


async def test_a_slow_list_delays_the_start_no_longer_than_patience_lasts(tmp_path: Path) -> None:
    provider = Provider(one=listing("A"), two=listing("B"))
    provider.gates["two"] = asyncio.Event()
    async with Tasks() as tasks:
        library = Library(provider.fetch, tasks, patience=0.05)
        await library.load(config(tmp_path, "one", "two"))
        assert names(library) == ["A"]

        provider.gates["two"].set()

        await until_channels_are(library, ["A", "B"])
        assert provider.asked.count("two") == 1


async def test_a_reload_replaces_the_catalog_whole_and_gives_up_what_is_no_longer_wanted(tmp_path: Path) -> None:
    provider = Provider(one=listing("A"), two=listing("B"))
    async with Tasks() as tasks:
        library = Library(provider.fetch, tasks)
        await library.load(config(tmp_path, "one"))
        before = library.catalog

        await library.load(config(tmp_path, "two"))

        assert names(library) == ["B"]
        assert [channel.name for channel in before.channels.values()] == ["A"]


async def test_a_cache_that_cannot_be_written_does_not_stop_the_start(tmp_path: Path) -> None:
    in_the_way = tmp_path / "file"
    in_the_way.write_text("")
    async with Tasks() as tasks:
        library = Library(Provider(one=listing("A")).fetch, tasks)

        await library.load(config(in_the_way, "one"))

        assert names(library) == ["A"]
