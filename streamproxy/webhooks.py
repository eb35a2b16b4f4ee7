"""Addresses that are told of events. Each has a queue and a task of its own, so that none waits for another."""

import asyncio
import contextlib
import hashlib
import hmac
import json
import random
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Protocol
from urllib.parse import urlsplit, urlunsplit

import structlog
from pydantic import TypeAdapter, ValidationError

from streamproxy import __version__
from streamproxy.errors import UpstreamError, UpstreamRefused
from streamproxy.events import Event, StreamStarted
from streamproxy.formats import urls
from streamproxy.model import merged_headers
from streamproxy.tasks import Tasks

MOST_WAITING = 10_000
"""Events that wait for one webhook; of more, the oldest are dropped."""
MOST_WEBHOOKS = 256
"""Webhooks at one time, besides those of the configuration."""

_LONGEST_PAUSE = 300.0
"""Seconds before an event is sent again, however often it was in vain."""
_JITTER = 0.1
"""Part of a pause by which it may be longer: what failed together is not sent again together."""
_GONE = 410
_DEFAULT_PORTS = {"http": 80, "https": 443}

_log = structlog.stdlib.get_logger("streamproxy")


@dataclass(frozen=True, slots=True)
class Webhook:
    """An address that is told of events.

    Attributes:
        url: Where they are posted to.
        events: The names of those it is told of; empty for all.
        headers: Request headers, which count before the program's own.
        timeout: Seconds for it to answer.
        retry_attempts: Times that an event is sent again.
        secret: What posts are signed with; None for no signature.
        foreign: Given by somebody else than the owner: must not lead to this machine or to what only it can reach.
        configured: Whether it is one of the configuration's.
        show_urls: Whether it is told the addresses of providers; only their hosts otherwise.
    """

    url: str = field(repr=False)
    events: tuple[str, ...] = ()
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    timeout: float = 10.0
    retry_attempts: int = 3
    secret: str | None = field(default=None, repr=False)
    foreign: bool = False
    configured: bool = False
    show_urls: bool = False


_KEPT = TypeAdapter(list[Webhook])
_NOT_KEPT = ("configured", "foreign")


class Post(Protocol):
    """Posts something, and returns the status of the answer."""

    async def __call__(
        self, url: str, body: bytes, headers: Mapping[str, str], *, timeout: float, foreign: bool
    ) -> int:
        """Post a body.

        Args:
            url: Where to.
            body: What.
            headers: All that the request says besides what it must.
            timeout: Seconds for the whole answer.
            foreign: Whether this machine must not be where it leads to.

        Raises:
            UpstreamError: There was no answer.
        """


class _Message(NamedTuple):
    """An event, written as it is sent."""

    event: str
    id: str
    body: bytes


class Outbox:
    """What one webhook is told.

    Attributes:
        hook: The webhook.
        delivered: Events that it has taken.
        failed: Events that it has not, however often they were sent.
        dropped: Events that were not sent, since too many waited.
    """

    def __init__(self, hook: Webhook, post: Post, jitter: Callable[[], float]) -> None:
        self.hook = hook
        self.delivered = 0
        self.failed = 0
        self.dropped = 0
        self._post = post
        self._jitter = jitter
        self._waiting: deque[_Message] = deque()
        self._under_way = 0
        self._more = asyncio.Event()
        self._settled = asyncio.Event()
        self._settled.set()
        self._well = True
        self._full = False
        self._log = _log.bind(webhook=urls.host(hook.url))

    @property
    def pending(self) -> int:
        """Events that wait, with what is being sent."""
        return len(self._waiting) + self._under_way

    def put(self, message: _Message) -> None:
        """Have an event sent after those that wait."""
        if len(self._waiting) >= MOST_WAITING:
            self._waiting.popleft()
            self.dropped += 1
            if not self._full:
                self._full = True
                self._log.warning("webhook_events_dropped", waiting=MOST_WAITING)
        self._waiting.append(message)
        self._more.set()
        self._settled.clear()

    async def settled(self) -> None:
        """Wait until nothing waits."""
        await self._settled.wait()

    async def run(self) -> None:
        """Send what waits, one after the other, until cancelled."""
        while True:
            await self._more.wait()
            while self._waiting:
                message = self._waiting.popleft()
                try:
                    await self.send(message)
                except Exception:  # noqa: BLE001 - one event's mistake is not the end of the others
                    self.failed += 1
                    self._log.exception("webhook_broke", event_type=message.event)
            self._full = False
            self._more.clear()
            self._settled.set()

    async def send(self, message: _Message) -> bool:
        """Send an event, again and again if need be, past those that wait; tell whether it was taken."""
        self._under_way += 1
        try:
            return await self._send(message)
        finally:
            self._under_way -= 1

    async def _send(self, message: _Message) -> bool:
        failures = 0
        while True:
            try:
                await self._attempt(message)
            except UpstreamError as error:
                failures += 1
                if failures > self.hook.retry_attempts or _is_final(error):
                    self._lose(message, error)
                    return False
                await asyncio.sleep(_pause(failures, self._jitter()))
            else:
                self.delivered += 1
                if not self._well:
                    self._well = True
                    self._log.info("webhook_recovered", failed=self.failed)
                return True

    async def _attempt(self, message: _Message) -> None:
        hook = self.hook
        headers = merged_headers(_headers(message, hook.secret), hook.headers)
        status = await self._post(hook.url, message.body, headers, timeout=hook.timeout, foreign=hook.foreign)
        if status >= 400:
            raise UpstreamRefused("webhook", status)

    def _lose(self, message: _Message, error: UpstreamError) -> None:
        self.failed += 1
        # Once, until it takes something again: events may be many.
        if self._well:
            self._well = False
            self._log.warning("webhook_failed", event_type=message.event, reason=error.reason)


class Webhooks:
    """All webhooks there are, each once; an iterable of their outboxes."""

    def __init__(self, post: Post, tasks: Tasks, *, jitter: Callable[[], float] = random.random) -> None:
        """Start without any.

        Args:
            post: What events are sent with.
            tasks: Owns what sends them.
            jitter: Returns numbers from 0 to 1.
        """
        self._post = post
        self._tasks = tasks
        self._jitter = jitter
        self._outboxes: dict[str, Outbox] = {}
        self._senders: dict[str, asyncio.Task[None]] = {}

    def __len__(self) -> int:
        return len(self._outboxes)

    def __iter__(self) -> Iterator[Outbox]:
        return iter(tuple(self._outboxes.values()))

    def find(self, url: str) -> Outbox | None:
        """Look one up by its address; None if there is none."""
        try:
            return self._outboxes.get(normalised(url))
        except ValueError:
            return None

    def add(self, hook: Webhook) -> Outbox:
        """Register one, inside the running loop; one of the same address gets its settings, and keeps what it has.

        Raises:
            ValueError: Its address or a header cannot be used, or there are too many. The text holds neither.
        """
        hook = replace(hook, url=normalised(hook.url))
        if not all(urls.is_header(name, value) for name, value in hook.headers.items()):
            raise ValueError("a request header that may not be set")
        if outbox := self._outboxes.get(hook.url):
            outbox.hook = hook
            return outbox
        if not hook.configured and sum(not known.hook.configured for known in self) >= MOST_WEBHOOKS:
            raise ValueError(f"there are {MOST_WEBHOOKS} webhooks already")
        outbox = self._outboxes[hook.url] = Outbox(hook, self._post, self._jitter)
        self._senders[hook.url] = self._tasks.start(outbox.run(), name=f"webhook {urls.host(hook.url)}")
        return outbox

    def remove(self, url: str) -> bool:
        """Drop one, and what waits for it; tell whether it was there."""
        outbox = self.find(url)
        if outbox is None:
            return False
        del self._outboxes[outbox.hook.url]
        self._senders.pop(outbox.hook.url).cancel()
        return True

    def configure(self, hooks: Iterable[Webhook]) -> None:
        """Have these, and no others, of the configuration.

        Raises:
            ValueError: One of them cannot be used.
        """
        wanted = {normalised(hook.url): replace(hook, configured=True) for hook in hooks}
        for outbox in self:
            if outbox.hook.configured and outbox.hook.url not in wanted:
                self.remove(outbox.hook.url)
        for hook in wanted.values():
            self.add(hook)

    def listener(self, event: Event) -> None:
        """Have an event sent to all whom it concerns."""
        messages: dict[bool, _Message] = {}
        for outbox in self._outboxes.values():
            hook = outbox.hook
            if hook.events and event.name not in hook.events:
                continue
            message = messages.get(hook.show_urls)
            if message is None:
                payload = event.payload(str if hook.show_urls else urls.redact)
                message = messages[hook.show_urls] = _written(event, payload)
            outbox.put(message)

    async def test(self, url: str, *, within: float | None = None) -> tuple[Event, bool]:
        """Send an event that is none to one webhook, past what waits for it.

        Args:
            url: The webhook's address.
            within: Seconds after which it is not sent again, and not waited for; None for as long as it takes.

        Returns:
            The event, and whether the webhook has taken it.

        Raises:
            KeyError: There is no such webhook.
        """
        outbox = self.find(url)
        if outbox is None:
            raise KeyError("no such webhook")
        address = "http://example.com/test.m3u8"
        event = StreamStarted(stream_id="test_stream_123", primary_url=address)
        data = {"test": True, "message": "This is a test of a webhook", "primary_url": address}
        taken = False
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                taken = await outbox.send(_written(event, event.payload(str) | {"data": data}))
        return event, taken

    async def settle(self, *, within: float) -> None:
        """Wait until nothing waits for any of them.

        Args:
            within: Seconds, at most.
        """
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within):
                for outbox in self:
                    await outbox.settled()

    def to_state(self) -> list[dict[str, Any]]:
        """Write those that are not of the configuration, as JSON values."""
        return [
            {name: value for name, value in asdict(outbox.hook).items() if name not in _NOT_KEPT}
            for outbox in self
            if not outbox.hook.configured
        ]

    def from_state(self, state: object, *, foreign: bool) -> None:
        """Register what `to_state` wrote.

        Args:
            state: That, or what has become of it in a file.
            foreign: Whether they must not lead to this machine, as the settings say by now.

        Raises:
            ValueError: It is something else; some may be registered then. The text holds nothing of it.
        """
        try:
            hooks = _KEPT.validate_python(state)
        except ValidationError as error:
            raise ValueError(f"{error.error_count()} mistakes in what was kept of webhooks") from None
        for hook in hooks:
            self.add(replace(hook, foreign=foreign, configured=False))


def normalised(url: str) -> str:
    """Write an address as m3u-proxy does, to tell whether two are the same.

    Scheme and host are in lower case, a usual port and the fragment are left out, and a bare host gets a slash.

    Raises:
        ValueError: It is no http or https address. The text hides it.
    """
    parts = urlsplit(urls.wire(url.strip()))
    userinfo, at, location = parts.netloc.rpartition("@")
    location = location.lower().removesuffix(f":{_DEFAULT_PORTS[parts.scheme]}").removesuffix(":")
    return urlunsplit((parts.scheme, f"{userinfo}{at}{location}", parts.path or "/", parts.query, ""))


def _written(event: Event, payload: Mapping[str, Any]) -> _Message:
    return _Message(event.name, event.id, json.dumps(payload).encode())


def _headers(message: _Message, secret: str | None) -> dict[str, str]:
    headers = {
        "Content-Type": "application/json",
        "User-Agent": f"streamproxy/{__version__}",
        "X-Streamproxy-Event": message.event,
        "X-Streamproxy-Delivery": message.id,
    }
    if secret is not None:
        signature = hmac.new(secret.encode(), message.body, hashlib.sha256).hexdigest()
        headers["X-Streamproxy-Signature"] = f"sha256={signature}"
    return headers


def _is_final(error: UpstreamError) -> bool:
    """Tell whether an answer says that there will never be another; m3u-proxy tries again at any."""
    return isinstance(error, UpstreamRefused) and error.status == _GONE


def _pause(failures: int, chance: float) -> float:
    return float(min(2 ** (failures - 1), _LONGEST_PAUSE)) * (1 + _JITTER * chance)
