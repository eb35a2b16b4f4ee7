"""What becomes of a channel whose upstream is lost."""

from typing import Annotated

from pydantic import BeforeValidator, Field

from streamproxy.config.section import Section, ServiceAddress, Switch
from streamproxy.config.values import Number, Seconds, Whole


class RetryConfig(Section):
    """How an upstream that was lost is tried again."""

    attempts: Annotated[int, BeforeValidator(Whole(0, 1000))] = 3
    """Times that an upstream which was lost is tried again before the next one is; 0 for straight to the next."""
    delay: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 1.0
    """Seconds before the second try; the first comes at once if the stream had been playing that long."""
    backoff: Annotated[float, BeforeValidator(Number(1, 100))] = 2.0
    """What the delay is multiplied by after each further failure."""
    max_delay: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 15.0
    """Seconds that the delay grows to at most, jitter not counted."""
    jitter: Annotated[float, BeforeValidator(Number(0, 1))] = 0.2
    """Share by which a delay is longer at most, by chance, so that channels lost together do not come together."""
    total_timeout: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds from a loss after which a channel is given up; 0 for never. A slate's limit counts in place of it."""


class FailoverConfig(Section):
    """What counts as lost, and how the upstreams of a channel take turns."""

    cooldown: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds for which an upstream that was given up is left alone while another can be tried."""
    fail_back: Annotated[float, BeforeValidator(Seconds(1))] | None = None
    """Seconds since the preferred upstream was left after which it is tried again; null for never."""
    healthy_after: Annotated[float, BeforeValidator(Seconds(0))] = 10.0
    """Seconds of playing after which a loss counts as a new one, and not as more of the last."""
    min_bitrate: Annotated[int, BeforeValidator(Whole(0, 1_000_000_000, "bits per second"))] = 0
    """Bits per second below which a live stream counts as lost; 0 for none."""
    watch: Switch = True
    """Whether a live stream counts as lost if its picture freezes or vanishes, or if it repeats a short clip."""
    resolver_url: ServiceAddress | None = Field(default=None, repr=False)
    """Address of a service that is asked first when an upstream is given up, as m3u-proxy asks it; null for none."""
    resolver_timeout: Annotated[float, BeforeValidator(Seconds(0.1, 3600))] = 10.0
    """Seconds for that service to answer."""


class SlateConfig(Section):
    """What viewers see while there is no upstream; a bare text tells whether there is a slate."""

    short_form = "enabled"

    enabled: Switch = True
    """Whether they see a slate that says so; otherwise the last picture stands still."""
    limit: Annotated[float, BeforeValidator(Seconds(0))] = 300.0
    """Seconds that it is shown before the channel is given up; 0 for never."""


class StrictLiveTsConfig(Section):
    """How live channels are sent to players that need one steady stream; a bare text tells whether all are."""

    short_form = "enabled"

    enabled: Switch = False
    """Whether all live channels are sent so; files never are."""
    prebuffer_size: Annotated[int, BeforeValidator(Whole(0, 1 << 26, "bytes"))] = 262144
    """Bytes that are gathered before a viewer gets the first one."""
    prebuffer_timeout: Annotated[float, BeforeValidator(Seconds(0))] = 10.0
    """Seconds that gathering takes at most; then what there is is sent."""
    circuit_breaker_timeout: Annotated[float, BeforeValidator(Seconds(0.1))] = 2.0
    """Seconds of silence after which an upstream counts as lost, in place of relay.stall_timeout."""
    circuit_breaker_cooldown: Annotated[float, BeforeValidator(Seconds(0))] = 60.0
    """Seconds for which an upstream that was given up is left alone, in place of failover.cooldown."""
