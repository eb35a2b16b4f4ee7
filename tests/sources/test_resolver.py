"""Host names to addresses: the name server is real, and fake is only a system look-up that has to hang."""

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from aiohttp.resolver import AsyncResolver

from streamproxy.sources import resolver as under_test
from streamproxy.sources.resolver import Resolver
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture for every test here
from tests.helpers.dns import NameServer, name_server

Resolving = Callable[..., Any]
"""Enters a block with a resolver whose c-ares asks a name server of the test, and with that server."""


@pytest.fixture
def resolving(monkeypatch: pytest.MonkeyPatch) -> Resolving:
    @asynccontextmanager
    async def resolving(
        names: Mapping[str, str | None], *, patience: float = 2
    ) -> AsyncIterator[tuple[Resolver, NameServer]]:
        async with name_server(names) as server:
            cares = partial(AsyncResolver, nameservers=["127.0.0.1"], udp_port=server.port, tcp_port=server.port)
            monkeypatch.setattr(under_test, "AsyncResolver", cares)
            resolver = Resolver(deadline=patience)
            try:
                yield resolver, server
            finally:
                await resolver.close()

    return resolving


class System:
    """The system's resolver: knows some names, hangs on others, and has never heard of the rest."""

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.hung: set[str] = set()
        self.asked: list[str] = []
        self._questioned = threading.Condition()
        self.released = threading.Event()

    def getaddrinfo(self, host: str, port: int, **_: object) -> list[tuple[Any, ...]]:
        with self._questioned:
            self.asked.append(host)
            self._questioned.notify_all()
        if host in self.hung:
            self.released.wait(30)
        if host not in self.names:
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (self.names[host], port))]

    async def until_asked(self, times: int) -> None:
        """Wait until it was asked so many times."""

        def wait() -> bool:
            with self._questioned:
                return self._questioned.wait_for(lambda: len(self.asked) >= times, 5)

        assert await asyncio.to_thread(wait)


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch) -> Iterator[System]:
    fake = System()
    monkeypatch.setattr(socket, "getaddrinfo", fake.getaddrinfo)
    yield fake
    fake.released.set()


async def addresses(resolver: Resolver, name: str, *, within: float = 5) -> list[tuple[str, int]]:
    try:
        async with asyncio.timeout(within):
            return [(found["host"], found["port"]) for found in await resolver.resolve(name, 80)]
    except TimeoutError:  # an OSError too
        pytest.fail(f"no answer within {within} s")


async def test_localhost_is_known_without_a_question_to_anybody(resolving: Resolving) -> None:
    async with resolving({}) as (resolver, server):
        assert await addresses(resolver, "localhost") == [("127.0.0.1", 80)]
        assert server.asked == []


async def test_names_in_the_hosts_file_are_known(resolving: Resolving) -> None:
    for line in Path("/etc/hosts").read_text().splitlines():
        address, *names = line.partition("#")[0].split() or [""]
        if names and "localhost" not in line and address.count(".") == 3:
            break
    else:
        pytest.skip("the hosts file names nothing but localhost")

    async with resolving({}) as (resolver, server):
        assert (address, 80) in await addresses(resolver, names[0])
        assert server.asked == []


async def test_a_name_server_is_asked_and_the_system_is_not(resolving: Resolving, system: System) -> None:
    async with resolving({"tv.example": "192.0.2.7"}) as (resolver, _):
        assert await addresses(resolver, "tv.example") == [("192.0.2.7", 80)]
    assert system.asked == []


async def test_the_system_is_asked_for_what_the_name_server_does_not_know(resolving: Resolving, system: System) -> None:
    system.names["box.local"] = "192.0.2.8"
    async with resolving({}) as (resolver, _):
        assert await addresses(resolver, "box.local") == [("192.0.2.8", 80)]


async def test_the_system_is_asked_when_the_name_server_is_silent(resolving: Resolving, system: System) -> None:
    system.names["tv.example"] = "192.0.2.9"
    async with resolving({"tv.example": None}, patience=0.3) as (resolver, _):
        assert await addresses(resolver, "tv.example") == [("192.0.2.9", 80)]


async def test_a_name_that_nobody_knows_is_an_os_error(resolving: Resolving, system: System) -> None:
    async with resolving({}) as (resolver, server):
        with pytest.raises(OSError):
            await addresses(resolver, "nobody.example")
        assert server.asked
        assert system.asked == ["nobody.example"]


@pytest.mark.parametrize("name", ["a..b", "x" * 64 + ".example", ".", "-", "_", "a." * 150])
async def test_what_is_no_name_is_an_os_error(resolving: Resolving, name: str) -> None:
    async with resolving({}) as (resolver, _):
        with pytest.raises(OSError):
            await addresses(resolver, name)


async def test_a_name_on_which_both_hang_is_an_os_error_in_time(resolving: Resolving, system: System) -> None:
    system.hung.add("hung.example")
    async with resolving({"hung.example": None}, patience=0.2) as (resolver, _):
        with pytest.raises(OSError):
            await addresses(resolver, "hung.example", within=1)


async def test_more_hung_names_than_threads_delay_no_other_name(resolving: Resolving, system: System) -> None:
    names: dict[str, str | None] = {f"hung{number}.example": None for number in range(80)}
    system.hung.update(names)
    async with resolving(names | {"tv.example": "192.0.2.7"}, patience=0.8) as (resolver, _):
        hung = [asyncio.create_task(addresses(resolver, name)) for name in names]
        await asyncio.sleep(0)  # they ask first
        assert await addresses(resolver, "tv.example", within=0.7)
        await system.until_asked(under_test._LOOKUPS)
        assert await addresses(resolver, "tv.example", within=0.7)
        assert all(isinstance(end, OSError) for end in await asyncio.gather(*hung, return_exceptions=True))


async def test_hung_names_do_not_delay_one_that_only_the_system_knows(resolving: Resolving, system: System) -> None:
    names: dict[str, str | None] = {f"hung{number}.example": None for number in range(20)}
    system.hung.update(names)
    system.names["box.local"] = "192.0.2.8"
    async with resolving(names, patience=0.2) as (resolver, _):
        hung = [asyncio.create_task(addresses(resolver, name)) for name in names]
        assert await addresses(resolver, "box.local", within=1) == [("192.0.2.8", 80)]
        await asyncio.gather(*hung, return_exceptions=True)


async def test_a_look_up_that_ends_too_late_gives_its_thread_back(
    resolving: Resolving, system: System, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(under_test, "_LOOKUPS", 1)
    system.hung.add("hung.example")
    system.names["box.local"] = "192.0.2.8"
    async with resolving({}, patience=0.2) as (resolver, _):
        with pytest.raises(OSError):
            await addresses(resolver, "hung.example")
        with pytest.raises(OSError):
            await addresses(resolver, "box.local")

        system.released.set()

        async with asyncio.timeout(5):
            while True:
                try:
                    assert await resolver.resolve("box.local", 80)
                    break
                except OSError:
                    continue


async def test_a_cancelled_look_up_ends_at_once(resolving: Resolving, system: System) -> None:
    system.hung.add("hung.example")
    async with resolving({}, patience=10) as (resolver, _):
        looking = asyncio.create_task(resolver.resolve("hung.example", 80))
        await system.until_asked(1)

        looking.cancel()

        ended, _ = await asyncio.wait([looking], timeout=0.5)
        assert ended
        assert looking.cancelled()


async def test_the_executor_of_the_loop_is_left_to_others(resolving: Resolving, system: System) -> None:
    class Forbidden(ThreadPoolExecutor):
        def submit(self, *_: Any, **__: Any) -> Any:
            raise AssertionError("used the loop's executor")

    executor = Forbidden()
    asyncio.get_running_loop().set_default_executor(executor)
    system.names["box.local"] = "192.0.2.8"
    async with resolving({"tv.example": "192.0.2.7"}) as (resolver, _):
        assert await addresses(resolver, "tv.example")
        assert await addresses(resolver, "box.local")


async def test_closing_does_not_wait_for_a_name_server(resolving: Resolving) -> None:
    async with resolving({"hung.example": None}, patience=10) as (resolver, server):
        looking = asyncio.create_task(resolver.resolve("hung.example", 80))
        async with asyncio.timeout(5):
            await server.questioned.wait()

        async with asyncio.timeout(1):
            await resolver.close()

        looking.cancel()
        await asyncio.wait([looking], timeout=1)
        assert looking.done()
