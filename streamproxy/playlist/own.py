"""The streams that the configuration names, as channels."""

from streamproxy.config import BackupConfig, Config, StreamConfig
from streamproxy.formats import urls
from streamproxy.formats.kinds import kind_of_url
from streamproxy.model import DEMO_URL, Channel, StreamKind, Upstream, merged_headers


def channel_of(name: str, stream: StreamConfig, config: Config) -> Channel:
    """Make a channel of a stream that has an address; `config` is the rest of the configuration."""
    assert stream.url
    own = BackupConfig(
        url=stream.url, kind=stream.kind, user_agent=stream.user_agent, headers=stream.headers, account=stream.account
    )
    backups = (*stream.failover, *(BackupConfig(url=url) for url in stream.failover_urls))
    labels = [name, *(f"{name} ({number})" for number in range(2, len(backups) + 2))]
    upstreams = [_upstream(label, each, stream) for label, each in zip(labels, (own, *backups), strict=True)]
    return Channel(
        id=name,
        name=stream.title or name,
        upstreams=tuple(upstreams),
        group=stream.group,
        quality=stream.quality,
        mode=stream.mode,
        strict=chosen(stream.strict_live_ts, config.strict_live_ts.enabled),
        sticky=chosen(stream.use_sticky_session, config.options.use_sticky_session),
        resolver_url=stream.failover_resolver_url or config.failover.resolver_url,
        profile=stream.profile,
        metadata=dict(stream.metadata),
    )


def lines_of(name: str, stream: StreamConfig) -> str:
    """Write what stands above a stream's URL in the list."""
    title = stream.title or name
    attributes = {"tvg-id": name, "tvg-name": title, "tvg-logo": stream.logo, "group-title": stream.group}
    written = "".join(f' {key}="{value.replace(chr(34), chr(39))}"' for key, value in attributes.items() if value)
    return f"#EXTINF:-1{written},{title}\n"


def kind_of(configured: str, url: str) -> StreamKind | None:
    """Tell what is at an address: what the configuration says of it, else what the address tells, if it does."""
    return kind_of_url(url) if configured == "auto" else StreamKind(configured)


def chosen(own: bool | None, for_all: bool) -> bool:
    """Choose a switch of its own, where there is one, over the one for all."""
    return for_all if own is None else own


def _upstream(label: str, settings: BackupConfig, stream: StreamConfig) -> Upstream:
    address = settings.url.lower()
    url = urls.plain(settings.url)
    kind = kind_of(settings.kind, url)
    if settings.url == DEMO_URL:
        kind = StreamKind.LIVE
    elif settings.kind == "auto" and address.startswith(("hls://", "hlsvariant://")):
        kind = StreamKind.HLS  # StreamPipe's prefix says what an address without an ending is
    headers = merged_headers(stream.request_headers, settings.request_headers)
    return Upstream(url, label, headers, kind, settings.account or "")
