"""The way out for webhooks: it is that of upstreams."""

import asyncio
from collections.abc import Mapping

import aiohttp

from streamproxy.errors import UpstreamError, UpstreamStalled
from streamproxy.formats import urls
from streamproxy.model import Upstream
from streamproxy.sources.client import Client

_MOST_ANSWERED = 64 << 10
"""Bytes of an answer that are read. Some servers stop what they do for a request whose answer nobody reads."""


class Poster:
    """Posts to addresses, and follows their redirects with the same post."""

    def __init__(self, client: Client) -> None:
        """Prepare.

        Args:
            client: What to post with.
        """
        self._client = client

    async def __call__(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, foreign: bool
    ) -> int:
        """Post a body; return the status of the answer, of which no more than 64 KiB are read.

        Args:
            url: Where to.
            body: What.
            headers: Request headers.
            timeout: Seconds for the whole answer. If the head of it came in time, the status counts.
            foreign: Whether this machine and its neighbourhood must not be where it leads to.

        Raises:
            UpstreamError: There was no answer.
        """
        upstream = Upstream(url, f"webhook {urls.host(url)}", headers, foreign=foreign)
        opened = self._client.open(
            upstream, method="POST", body=body, also=range(200, 1000), timeout=timeout, read_ahead=_MOST_ANSWERED
        )
        status = None
        try:
            async with asyncio.timeout(timeout), opened as response:
                status = response.status
                await _read_some(response)
        except UpstreamError:
            if status is None:
                raise
        except TimeoutError:
            if status is None:
                raise UpstreamStalled(upstream.label, f"no answer within {timeout:g} s") from None
        return status


async def _read_some(response: aiohttp.ClientResponse) -> None:
    left = _MOST_ANSWERED
    async for data in response.content.iter_any():
        left -= len(data)
        if left <= 0:
            return
