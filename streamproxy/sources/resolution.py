"""Services of a user's own that know where else a channel can be had; they are asked as m3u-proxy asks them."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import structlog

from streamproxy.errors import (
    UpstreamBroken,
    UpstreamError,
    UpstreamRefused,
    UpstreamStalled,
    UpstreamThin,
    UpstreamUnreachable,
)
from streamproxy.formats import urls
from streamproxy.formats.kinds import kind_of_url
from streamproxy.model import Channel, Upstream
from streamproxy.sources.client import Client

_LIMIT = 64 << 10
"""Bytes of an answer."""
_REASONS = (
    (UpstreamThin, "low_bitrate"),
    (UpstreamStalled, "chunk_timeout_after_retries"),
    (UpstreamUnreachable, "connection_error_after_retries"),
    (UpstreamBroken, "live_stream_silent_close"),
)

_log = structlog.stdlib.get_logger("streamproxy")


class FailoverService:
    """Asks one service about one channel.

    It gets to know the address of what was lost. Nothing that is sent to it, or comes from it, is logged.
    """

    def __init__(self, channel: Channel, client: Client, *, timeout: float) -> None:
        """Prepare.

        Args:
            channel: The channel, which has a `resolver_url`.
            client: What to ask with.
            timeout: Seconds for the whole answer.
        """
        assert channel.resolver_url is not None
        self._channel = channel
        self._client = client
        self._timeout = timeout
        self._service = Upstream(
            channel.resolver_url,
            "failover resolver",
            {"Content-Type": "application/json"},
            foreign=channel.resolver_foreign,
        )
        self._log = _log.bind(channel=channel.id)

    async def resolve(self, lost: Upstream, named: int, error: UpstreamError) -> Upstream | None:
        """Ask which upstream is next; None if the service knows none, or does not answer as it should.

        Args:
            lost: What was lost.
            named: How many it has named so far. m3u-proxy calls that an index, and services count on it.
            error: Why that was lost.
        """
        question = {
            "current_url": lost.url,
            "metadata": dict(self._channel.metadata),
            "current_failover_index": named,
            "status_code": error.status if isinstance(error, UpstreamRefused) else None,
            "reason": _reason(error),
        }
        try:
            url = _next_url(await self._ask(json.dumps(question).encode()))
        except UpstreamError as failure:
            self._log.warning("resolver_failed", reason=failure.reason)
            return None
        except ValueError:
            self._log.warning("resolver_failed", reason="its answer is not the JSON that it should be")
            return None
        if url is None:
            return None
        first = self._channel.upstreams[0]
        return replace(first, url=url, label=f"{first.label} (resolved)", kind=kind_of_url(url))

    async def _ask(self, question: bytes) -> bytes:
        answer = bytearray()
        try:
            async with (
                asyncio.timeout(self._timeout),
                self._client.open(
                    self._service, method="POST", body=question, also=range(200, 300), timeout=self._timeout
                ) as response,
            ):
                async for data in response.content.iter_any():
                    answer += data
                    if len(answer) > _LIMIT:
                        raise UpstreamBroken(self._service.label, f"its answer has more than {_LIMIT} bytes")
        except TimeoutError:
            raise UpstreamStalled(self._service.label, f"no answer within {self._timeout:g} s") from None
        return bytes(answer)


def _reason(error: UpstreamError) -> str:
    """Say why something was lost in the words of m3u-proxy, which names what it has no word for by its class."""
    named = f"stream_error_{type(error).__name__}_after_retries"
    return next((reason for kind, reason in _REASONS if isinstance(error, kind)), named)


def _next_url(answer: bytes) -> str | None:
    """Read an answer.

    Raises:
        ValueError: It is none.
    """
    try:
        read: Any = json.loads(answer)
    except RecursionError:
        raise ValueError("too deep") from None
    match read:
        case {"next_url": str(url)} if urls.is_http(url):
            return url
        case {"next_url": None | ""}:
            return None
    raise ValueError("no address")
