"""What may be done through the API, and who is told of events."""

from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from streamproxy.config import values
from streamproxy.config.section import Headers, Section, ServiceAddress, Switch
from streamproxy.config.values import Seconds, Whole

EventName = Literal[
    "stream_started",
    "stream_stopped",
    "stream_failed",
    "client_connected",
    "client_disconnected",
    "failover_triggered",
    "upstream_failed",
    "upstream_recovered",
    "splice",
    "viewer_lagged",
]


class ApiConfig(Section):
    """What may be done through the API."""

    open: Switch = False
    """Whether everybody may change things although there is no server.api_token; otherwise only this machine may."""
    local_urls: Switch = False
    """Whether addresses given through the API may lead to this machine, and to others that only it can reach."""
    keep_streams: Switch = True
    """Whether streams and webhooks made through the API are still there after a restart; they are kept in state_dir."""
    max_streams: Annotated[int, BeforeValidator(Whole(1, 1_000_000))] = 10000
    """Streams made through the API at one time; a further one takes the place of the one not watched for longest."""
    stream_timeout: Annotated[float, BeforeValidator(Seconds(1))] | None = None
    """Seconds without a viewer after which a stream made through the API is forgotten; null for never."""


class WebhookConfig(Section):
    """An address that is told of events; a bare text is its url."""

    short_form = "url"

    url: ServiceAddress = Field(repr=False)
    """Where events are posted to, as JSON."""
    events: tuple[Annotated[EventName, BeforeValidator(values.lower_case)], ...] = ()
    """Which events; empty for all."""
    headers: Headers = Field(default_factory=dict, repr=False)
    """Request headers, by name."""
    timeout: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 10.0
    """Seconds for it to answer."""
    retry_attempts: Annotated[int, BeforeValidator(Whole(0, 100))] = 3
    """Times that an event is sent again, after 1, 2, 4 … seconds."""
    secret: Annotated[str, AfterValidator(values.token)] | None = Field(default=None, repr=False)
    """A secret text with which each post is signed (HMAC-SHA256 in X-Streamproxy-Signature); null for no signature."""
