"""Host names to addresses: c-ares first, then the system's resolver; no name ever waits for another."""

import asyncio
import contextlib
import socket
import threading

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import AsyncResolver

_LOOKUPS = 64
"""System look-ups under way at once; each hung one holds a thread until the system gives up, up to 40 s."""


class Resolver(AbstractResolver):
    """Ask c-ares, which waits for any number of names at once; then the system, which also knows mDNS and LDAP."""

    def __init__(self, *, deadline: float = 3.0) -> None:
        """Prepare, inside the running loop.

        Args:
            deadline: Seconds that each of the two may take.
        """
        self._deadline = deadline
        self._cares = AsyncResolver(timeout=deadline / 2, tries=2)
        self._free_threads = asyncio.Semaphore(_LOOKUPS)

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Look a name up.

        Raises:
            OSError: Neither resolver knows it, or both were too slow.
        """
        try:
            async with asyncio.timeout(self._deadline):
                return await self._cares.resolve(host, port, family)
        except (OSError, TimeoutError):
            pass
        try:
            async with asyncio.timeout(self._deadline):
                return await self._ask_system(host, port, family)
        except TimeoutError:
            raise OSError(socket.EAI_AGAIN, "name look-up timed out") from None

    async def close(self) -> None:
        """Release c-ares."""
        await self._cares.close()

    async def _ask_system(self, host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult]:
        """Call getaddrinfo in a thread of its own.

        Not in the loop's executor: a handful of hung names would fill it and make every other name wait. A daemon, so
        that a hung look-up does not delay the end of the program.
        """
        await self._free_threads.acquire()
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[ResolveResult]] = loop.create_future()

        def settle(found: list[ResolveResult] | OSError) -> None:
            self._free_threads.release()
            if answer.done():
                return
            if isinstance(found, OSError):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def look_up() -> None:
            found = _getaddrinfo(host, port, family)
            # A loop that was closed meanwhile has nobody who waits for the answer.
            with contextlib.suppress(RuntimeError):
                loop.call_soon_threadsafe(settle, found)

        threading.Thread(target=look_up, name="getaddrinfo", daemon=True).start()
        return await answer


def _getaddrinfo(host: str, port: int, family: socket.AddressFamily) -> list[ResolveResult] | OSError:
    try:
        infos = socket.getaddrinfo(host, port, family=family, type=socket.SOCK_STREAM)
    except OSError as error:
        return error
    except UnicodeError:
        return OSError(socket.EAI_NONAME, "not a host name")
    return [
        ResolveResult(
            hostname=host,
            host=str(address[0]),
            port=port,
            family=found,
            proto=proto,
            flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
        )
        for found, _, proto, _, address in infos
    ]
