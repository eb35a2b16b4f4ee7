"""Webhooks: who is told of events. Those of the configuration, and those who register, in m3u-proxy's shapes."""

from collections.abc import Iterable
from dataclasses import replace

import structlog
from aiohttp import web

from streamproxy.api import models
from streamproxy.api.contract import Unprocessable, mistake, operation
from streamproxy.api.reach import check_addresses
from streamproxy.config import Config
from streamproxy.errors import StateError
from streamproxy.events import EVENTS
from streamproxy.state import StateFile
from streamproxy.web import SETTINGS, is_authenticated, shown
from streamproxy.webhooks import Outbox, Webhook, Webhooks

routes = web.RouteTableDef()

_log = structlog.stdlib.get_logger("streamproxy")

_FAREWELL = 1.0
"""Seconds for webhooks to be told the rest when everything ends."""
_PATIENCE = 30.0
"""Seconds for a webhook that is tried, however often that is."""
_NOT_FOUND = {404: "There is no such webhook"}
_NOT_KEPT = {503: "It is done, but would be undone by a restart"}


class WebhookRegister:
    """The webhooks there are; those of the API are kept over a restart."""

    def __init__(self, webhooks: Webhooks, file: StateFile | None) -> None:
        """Prepare, without any.

        Args:
            webhooks: Tells them.
            file: Where those of the API are kept; None for nowhere.
        """
        self.webhooks = webhooks
        self._file = file

    def read(self, config: Config) -> None:
        """Register those of the last run, inside the running loop."""
        if self._file is None:
            return
        try:
            kept = self._file.read()
            if kept is not None:
                self.webhooks.from_state(kept, foreign=_are_foreign(config))
        except (StateError, ValueError) as error:
            self._file.set_aside()
            remedy = "it was set aside as *.damaged; mend it and put it back"
            _log.error("webhooks_not_read", reason=str(error), remedy=remedy)

    def configure(self, config: Config) -> None:
        """Have those of this configuration beside those of the API; these stay as they are."""
        self.webhooks.configure(_configured(config))
        for outbox in self.webhooks:
            if not outbox.hook.configured:
                self.webhooks.add(replace(outbox.hook, foreign=_are_foreign(config)))

    async def add(self, hook: Webhook) -> Outbox:
        """Register one for the API; what there is already stays as it is.

        Raises:
            ValueError: There are too many.
            StateError: It is there, but cannot be kept over a restart.
        """
        before = self.webhooks.find(hook.url)
        known = before and before.hook
        outbox = self.webhooks.add(hook)
        if outbox.hook != known:
            await self._keep()
        return outbox

    async def remove(self, outbox: Outbox) -> None:
        """Drop one.

        Raises:
            StateError: It is gone, but would be there again after a restart.
        """
        self.webhooks.remove(outbox.hook.url)
        await self._keep()

    async def close(self, _: object = None) -> None:
        """Have them told the rest, as far as that is quick, and tell them no more; they are kept all the same."""
        await self.webhooks.settle(within=_FAREWELL)
        for outbox in self.webhooks:
            self.webhooks.remove(outbox.hook.url)

    async def _keep(self) -> None:
        if self._file:
            await self._file.write(self.webhooks.to_state)


WEBHOOKS = web.AppKey("webhooks", WebhookRegister)


@routes.post("/webhooks")
@operation("Register a webhook", errors={503: "There are too many, or it cannot be kept over a restart"})
async def register(request: web.Request, body: models.WebhookBody) -> models.WebhookRegistered:
    """Have an address told of events. Registered again, it gets the new settings.

    Who registers it with the API token has it told the addresses of providers; others only their hosts.
    """
    check_addresses(request, [("url", body.url)])
    register = request.app[WEBHOOKS]
    known = register.webhooks.find(body.url)
    if known and known.hook.configured:
        message = "Webhook is in the configuration, whose settings stay in force"
        return models.WebhookRegistered(message=message, webhook_url=known.hook.url, events=_names(known.hook))
    hook = Webhook(
        url=body.url,
        events=tuple(body.events),
        headers=body.headers,
        timeout=body.timeout,
        retry_attempts=body.retry_attempts,
        secret=body.secret,
        foreign=_are_foreign(request.app[SETTINGS].config),
        show_urls=is_authenticated(request),
    )
    try:
        outbox = await register.add(hook)
    except (StateError, ValueError) as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    return models.WebhookRegistered(
        message="Webhook added successfully", webhook_url=outbox.hook.url, events=_names(outbox.hook)
    )


@routes.get("/webhooks")
@operation("List the webhooks")
async def list_webhooks(request: web.Request) -> models.Webhooks:
    """List who is told of events, and what became of them since the start."""
    show = shown(request)
    return models.Webhooks(
        webhooks=[
            models.Webhook(
                url=show(outbox.hook.url),
                events=_names(outbox.hook),
                timeout=outbox.hook.timeout,
                retry_attempts=outbox.hook.retry_attempts,
                delivered=outbox.delivered,
                failed=outbox.failed,
                dropped=outbox.dropped,
                pending=outbox.pending,
                configured=outbox.hook.configured,
            )
            for outbox in request.app[WEBHOOKS].webhooks
        ]
    )


@routes.delete("/webhooks")
@operation("Remove a webhook", errors=_NOT_FOUND | _NOT_KEPT | {409: "It is one of the configuration"})
async def remove(
    request: web.Request, query: models.WebhookQuery, body: models.WebhookQuery | None = None
) -> models.Message:
    """Tell an address no more; it is named in the query or in the body."""
    outbox = _find(request, query, body)
    if outbox.hook.configured:
        raise web.HTTPConflict(text="Webhook is in the configuration; take it out there and reload")
    try:
        await request.app[WEBHOOKS].remove(outbox)
    except StateError as error:
        raise web.HTTPServiceUnavailable(text=str(error)) from None
    return models.Message(message="Webhook removed successfully")


@routes.post("/webhooks/test")
@operation("Try a webhook", errors=_NOT_FOUND)
async def try_webhook(
    request: web.Request, query: models.WebhookQuery, body: models.WebhookQuery | None = None
) -> models.WebhookTried:
    """Send a webhook an event that is none, again and again if need be; it is named in the query or in the body.

    Answered with 200 also if it did not take it, after 30 seconds at most.
    """
    outbox = _find(request, query, body)
    event, delivered = await request.app[WEBHOOKS].webhooks.test(outbox.hook.url, within=_PATIENCE)
    message = "Test webhook sent successfully" if delivered else "Test webhook was sent, but not taken"
    return models.WebhookTried(message=message, event_id=event.id, delivered=delivered)


def _find(request: web.Request, query: models.WebhookQuery, body: models.WebhookQuery | None) -> Outbox:
    url = query.webhook_url or (body and body.webhook_url)
    if not url:
        raise Unprocessable([mistake("missing", ("query", "webhook_url"), "Field required")])
    outbox = request.app[WEBHOOKS].webhooks.find(url)
    if outbox is None:
        raise web.HTTPNotFound(text="Webhook not found")
    return outbox


def _names(hook: Webhook) -> list[str]:
    return list(hook.events or EVENTS)


def _are_foreign(config: Config) -> bool:
    return not config.api.local_urls


def _configured(config: Config) -> Iterable[Webhook]:
    for hook in config.webhooks:
        yield Webhook(
            url=hook.url,
            events=tuple(hook.events),
            headers=hook.headers,
            timeout=hook.timeout,
            retry_attempts=hook.retry_attempts,
            secret=hook.secret,
            configured=True,
            # The owner's own.
            show_urls=True,
        )
