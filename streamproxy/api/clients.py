"""Clients: who watches."""

from aiohttp import web

from streamproxy.api import models
from streamproxy.api.contract import operation
from streamproxy.api.representation import Presenter
from streamproxy.web import AUDIENCE

routes = web.RouteTableDef()

_NOT_FOUND = {404: "There is no such client"}


@routes.get("/clients")
@operation("List who watches")
async def list_clients(request: web.Request) -> models.Clients:
    """List everybody who watches anything."""
    return everybody(request)


def everybody(request: web.Request) -> models.Clients:
    """Show everybody who watches anything."""
    presenter = Presenter(request)
    clients = [presenter.client(record, client) for record, client in request.app[AUDIENCE].clients()]
    return models.Clients(total_clients=len(clients), clients=clients)


@routes.get("/clients/{id}")
@operation("Look at a client", errors=_NOT_FOUND)
async def show(request: web.Request) -> models.Client:
    """Show somebody who watches; of several streams they watch, the first."""
    found = next(request.app[AUDIENCE].clients(request.match_info["id"]), None)
    if found is None:
        raise web.HTTPNotFound(text="Client not found")
    return Presenter(request).client(*found)


@routes.delete("/clients/{id}")
@operation("End a client", errors=_NOT_FOUND)
async def end(request: web.Request) -> models.Message:
    """End somebody's watching, on every stream."""
    client_id = request.match_info["id"]
    found = list(request.app[AUDIENCE].clients(client_id))
    if not found:
        raise web.HTTPNotFound(text="Client not found")
    for _, client in found:
        client.viewer.stop()
    return models.Message(message=f"Client {client_id} disconnected")


@routes.delete("/hls/{id}/clients/{client}")
@operation("End a client of a stream")
async def end_on_stream(request: web.Request) -> models.Message:
    """End somebody's watching of one stream; answered with 200 even if there is nobody to end, as m3u-proxy does."""
    client_id = request.match_info["client"]
    for record, client in list(request.app[AUDIENCE].clients(client_id)):
        if record.channel.id == request.match_info["id"]:
            client.viewer.stop()
    return models.Message(message=f"Client {client_id} disconnected")
