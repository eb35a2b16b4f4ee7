"""What feeds a channel, put together from the settings in force."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

from streamproxy.audience import StreamRecord
from streamproxy.broadcast.continuity import Continuity, Terms
from streamproxy.broadcast.failover import FailoverTerms, RetryTerms
from streamproxy.broadcast.interlude import Slates
from streamproxy.broadcast.referral import Resolve
from streamproxy.config import Config
from streamproxy.formats.health import VitalTerms
from streamproxy.model import Channel, Source, Upstream

_SLATE_DELAY = 3.0
"""Seconds without a stream after which a slate is shown: most losses are over by then."""
_MEDIA_WITHIN = 15.0
_MEDIA_WITHIN_BYTES = 32 << 20
_VIDEO_WITHIN = 15.0
_FROZEN_AFTER = 15.0

_WORKS_AFTER = 1.0
"""Seconds for which ffmpeg must have run until it counts as something that works."""
_OFTEN = 1_000_000
_END_OF_FILE = 5.0
"""Seconds after which a file counts as over of which nothing more can be had."""

OpenSource = Callable[[Upstream], Source]
MakeSlate = Callable[[bool], Source]


def feed_of(
    channel: Channel,
    config: Config,
    open_source: OpenSource,
    make_slate: MakeSlate,
    resolve: Resolve | None,
    berth: AbstractContextManager[object],
    record: StreamRecord,
) -> Continuity:
    """Make what feeds a channel, without opening anything.

    Args:
        channel: The channel.
        config: The settings in force.
        open_source: Makes the source of one of its upstreams.
        make_slate: Makes the source of a slate, given whether all connections of the provider are in use.
        resolve: Whom to ask for another upstream when one is given up; None for nobody.
        berth: What is entered for as long as it runs.
        record: Where it is told how the channel fares.
    """
    strict = config.strict_live_ts
    return Continuity(
        channel,
        open_source,
        Terms(
            _retry_terms(config),
            _failover_terms(config, strict=channel.strict),
            Slates(make_slate, _SLATE_DELAY) if config.slate.enabled else None,
            _vital_terms(config, alone=len(channel.upstreams) == 1),
            strict.prebuffer_size if channel.strict else 0,
            strict.prebuffer_timeout,
            resolve,
        ),
        berth=berth,
        preferred=record.preferred if record.preferred < len(channel.upstreams) else 0,
        witness=record,
    )


def _retry_terms(config: Config) -> RetryTerms:
    retry, slate = config.retry, config.slate
    terms = RetryTerms(
        attempts=retry.attempts,
        delay=retry.delay,
        backoff=retry.backoff,
        max_delay=retry.max_delay,
        jitter=retry.jitter,
        total_timeout=retry.total_timeout,
    )
    if not slate.enabled:
        return terms
    # A slate is shown until an upstream returns, so it is what ends the trying.
    return replace(terms, total_timeout=slate.limit and _SLATE_DELAY + slate.limit)


def _failover_terms(config: Config, *, strict: bool) -> FailoverTerms:
    failover = config.failover
    cooldown = config.strict_live_ts.circuit_breaker_cooldown if strict else failover.cooldown
    return FailoverTerms(cooldown, failover.fail_back, failover.healthy_after)


def _vital_terms(config: Config, *, alone: bool) -> VitalTerms:
    bytes_per_second = config.failover.min_bitrate // 8
    if not config.failover.watch:
        return VitalTerms(min_bitrate=bytes_per_second)
    return VitalTerms(
        min_bitrate=bytes_per_second,
        media_within=_MEDIA_WITHIN,
        media_within_bytes=_MEDIA_WITHIN_BYTES,
        video_within=_VIDEO_WITHIN,
        frozen_after=_FROZEN_AFTER,
        # Where there is no other, a clip that says so is better than nothing.
        loops=not alone,
    )


def transcoding_terms(config: Config, *, from_file: bool) -> Terms:
    """Say how a transcoded channel is kept going: ffmpeg is started again; what it reads is kept going by itself.

    How often it failed does not count, as long as it does something in between: whoever watches wants to go on.

    Args:
        config: The settings in force.
        from_file: Whether ffmpeg reads a file. It may have died just before the end of that.
    """
    retry = replace(_retry_terms(config), attempts=_OFTEN)
    return Terms(
        replace(retry, total_timeout=_END_OF_FILE) if from_file else retry,
        FailoverTerms(cooldown=0, fail_back=None, healthy_after=_WORKS_AFTER),
        None,
        VitalTerms(),
        # Its clock begins anew with each run, which looks as if it did.
        repeats=False,
    )
