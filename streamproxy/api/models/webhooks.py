"""Who is told of events: what the API takes and answers."""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, StringConstraints

from streamproxy.api.models.fields import EventName, Headers, HookAddress, Model
from streamproxy.events import EVENTS

_M3U_PROXYS_EVENTS = tuple(EVENTS)[:6]


def _number(value: Any) -> Any:
    if isinstance(value, bool | str):
        raise ValueError("must be a number")  # noqa: TRY004 - of a validator
    return value


class WebhookBody(Model):
    """An address that is to be told of events."""

    url: HookAddress
    """Where events are posted to, as JSON."""
    events: list[EventName] = list(_M3U_PROXYS_EVENTS)  # noqa: RUF012 - copied for each
    """Which events; an empty list for all there are, no list for those of m3u-proxy."""
    headers: Headers = {}  # noqa: RUF012 - copied for each
    """Request headers, by name."""
    timeout: Annotated[float, Field(ge=1, le=3600), BeforeValidator(_number)] = 10
    """Seconds for it to answer."""
    retry_attempts: Annotated[int, Field(ge=0, le=100), BeforeValidator(_number)] = 3
    """Times that an event is sent again, after 1, 2, 4 … seconds."""
    secret: Annotated[str, StringConstraints(max_length=1024, pattern="^[!-~]+$")] | None = None
    """What each post is signed with (HMAC-SHA256 in X-Streamproxy-Signature); null for no signature."""


class WebhookQuery(Model):
    """Which webhook is meant."""

    webhook_url: str | None = None
    """Its address."""


class WebhookRegistered(Model):
    """An address that is told of events from now on."""

    message: str
    webhook_url: str
    """The address as it is known from now on."""
    events: list[str]


class Webhook(Model):
    """An address that is told of events; its request headers and its secret are shown to nobody."""

    url: str
    events: list[str]
    timeout: float
    retry_attempts: int
    delivered: int
    """Events that it has taken since the start."""
    failed: int
    """Events that it has not, however often they were sent."""
    dropped: int
    """Events that were not sent, since too many waited."""
    pending: int
    """Events that wait, with what is being sent."""
    configured: bool
    """Whether it is one of the configuration, which the API cannot remove."""


class Webhooks(Model):
    """Who is told of events."""

    webhooks: list[Webhook]


class WebhookTried(Model):
    """A webhook was sent an event that is none."""

    message: str
    event_id: str
    delivered: bool
    """Whether it has taken it."""
