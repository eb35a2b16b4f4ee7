"""Streams that were made through the API: channels beside those of the configuration, kept over a restart."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import structlog
from pydantic import TypeAdapter, ValidationError

from streamproxy.config import Config
from streamproxy.errors import StateError
from streamproxy.formats import urls
from streamproxy.formats.kinds import kind_of_url
from streamproxy.model import Channel, Upstream, merged_headers
from streamproxy.playlist.own import chosen
from streamproxy.playlist.variants import transcoded
from streamproxy.state import StateFile

_log = structlog.stdlib.get_logger("streamproxy")


@dataclass(frozen=True, slots=True)
class Order:
    """What somebody has asked for.

    Attributes:
        url: The address.
        failover_urls: Further addresses, in order.
        failover_resolver_url: Who is asked for another address; None for nobody.
        user_agent: The User-Agent for all of them; None for the usual one.
        headers: More request headers for all of them.
        metadata: Anything, as text.
        strict_live_ts: Whether it is sent strictly; None for what the configuration says.
        use_sticky_session: Whether it is taken up where a redirect led; None for what the configuration says.
        profile: Name of the profile it is transcoded with; None for none.
        output_format: How it is packed then; None for what the profile says.
        profile_variables: What is filled into the profile, by name.
        created: When, in UTC.
    """

    url: str = field(repr=False)
    failover_urls: tuple[str, ...] = field(default=(), repr=False)
    failover_resolver_url: str | None = field(default=None, repr=False)
    user_agent: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    metadata: Mapping[str, str] = field(default_factory=dict)
    strict_live_ts: bool | None = None
    use_sticky_session: bool | None = None
    profile: str | None = None
    output_format: str | None = None
    profile_variables: Mapping[str, str] = field(default_factory=dict)
    created: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def id(self) -> str:
        """The stream's id, as m3u-proxy makes it: clients store it."""
        text = self.url
        if self.profile:
            way = "hls" if self.output_format == "hls" else "direct"
            text = f"{self.url}|transcoded|{self.profile}|{way}"
        return hashlib.md5(text.encode("utf-8", "surrogatepass"), usedforsecurity=False).hexdigest()


_ORDERS = TypeAdapter(list[Order])


class CreatedStreams:
    """All streams that were made through the API.

    An iterable of their channels, those first that were not used for longest.
    """

    def __init__(self, file: StateFile | None = None) -> None:
        """Read those of the last run.

        Args:
            file: Where they are kept; None for nowhere.
        """
        self._file = file
        self._config = Config()
        self._orders: dict[str, Order] = {}
        self._channels: dict[str, Channel] = {}
        for order in _read(file) if file else ():
            self._put(order)

    def __len__(self) -> int:
        return len(self._orders)

    def __iter__(self) -> Iterator[Channel]:
        return iter(tuple(self._channels.values()))

    def configure(self, config: Config) -> None:
        """Use other settings for what starts from now on."""
        self._config = config
        for order in self._orders.values():
            self._channels[order.id] = self._channel_of(order)

    def find(self, name: str) -> Channel | None:
        """Look one up by its id, with or without an extension behind it; what one is transcoded from is found too."""
        bare = name.partition(".")[0]
        sources = (channel.transcode.source for channel in self._channels.values() if channel.transcode)
        return self._channels.get(bare) or next((source for source in sources if source.id == bare), None)

    def use(self, stream_id: str) -> None:
        """Take note that somebody wants to watch one, if it was made here."""
        if stream_id in self._orders:
            self._orders[stream_id] = self._orders.pop(stream_id)
            self._channels[stream_id] = self._channels.pop(stream_id)

    def order(self, stream_id: str) -> Order | None:
        """Tell what was asked for; None for a stream that was not made here."""
        return self._orders.get(stream_id)

    def preview(self, order: Order) -> Channel:
        """Tell what channel an order would make."""
        return self._channel_of(order)

    async def add(self, order: Order) -> Channel:
        """Make a stream, or make one anew that is there; it is kept when this returns.

        Raises:
            StateError: It is there, but cannot be kept over a restart.
        """
        before = self._orders.get(order.id)
        channel = self._put(order)
        if before is None or before != order:
            await self._keep()
        return channel

    async def remove(self, stream_id: str) -> bool:
        """Drop one; tell whether it was there.

        Raises:
            StateError: It is gone, but would be there again after a restart.
        """
        if self._orders.pop(stream_id, None) is None:
            return False
        del self._channels[stream_id]
        await self._keep()
        return True

    def _put(self, order: Order) -> Channel:
        self._orders.pop(order.id, None)
        self._channels.pop(order.id, None)
        self._orders[order.id] = order
        channel = self._channels[order.id] = self._channel_of(order)
        return channel

    async def _keep(self) -> None:
        if self._file:
            await self._file.write(lambda: [_written(order) for order in self._orders.values()])

    def _channel_of(self, order: Order) -> Channel:
        if order.profile is None:
            return self._raw_channel_of(order)
        raw = self._raw_channel_of(replace(order, profile=None))
        container = None if order.output_format == "hls" else order.output_format
        return transcoded(
            raw, order.profile, channel_id=order.id, container=container, variables=order.profile_variables
        )

    def _raw_channel_of(self, order: Order) -> Channel:
        name = urls.last_segment(order.url) or order.id
        headers = order.headers if order.user_agent is None else merged_headers(order.headers, _agent(order.user_agent))
        addresses = (order.url, *order.failover_urls)
        labels = [name, *(f"{name} ({number})" for number in range(2, len(addresses) + 1))]
        config = self._config
        return Channel(
            id=order.id,
            name=name,
            upstreams=tuple(
                Upstream(url, label, headers, kind_of_url(url), foreign=not config.api.local_urls)
                for url, label in zip(addresses, labels, strict=True)
            ),
            strict=chosen(order.strict_live_ts, config.strict_live_ts.enabled),
            sticky=chosen(order.use_sticky_session, config.options.use_sticky_session),
            resolver_url=order.failover_resolver_url or config.failover.resolver_url,
            resolver_foreign=order.failover_resolver_url is not None and not config.api.local_urls,
            metadata=order.metadata,
        )


def _agent(value: str) -> dict[str, str]:
    return {"User-Agent": value}


def _written(order: Order) -> dict[str, Any]:
    return asdict(order) | {"created": order.created.isoformat()}


def _read(file: StateFile) -> list[Order]:
    try:
        kept = file.read()
        return [] if kept is None else _ORDERS.validate_python(kept)
    except StateError as error:
        reason = str(error)
    except ValidationError as error:
        # Not its text, which may hold addresses.
        reason = f"{error.error_count()} mistakes in the file of streams made through the API"
    file.set_aside()
    _log.error("streams_not_read", reason=reason, remedy="it was set aside as *.damaged; mend it and put it back")
    return []
