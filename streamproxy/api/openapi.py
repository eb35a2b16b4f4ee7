"""`/openapi.json`: what the program takes and answers, written down from its routes (OpenAPI 3.1)."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any, cast
from urllib.parse import quote

from aiohttp import hdrs, web
from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from streamproxy import __version__
from streamproxy.api.contract import Operation, operation_of
from streamproxy.api.media import MEDIA
from streamproxy.web import SETTINGS, Face, Kind, base_url, kind_of

routes = web.RouteTableDef()

_MOST_KEPT = 8
"""Documents that are kept: one for each address that clients reach the program at."""
_PATH_PARAMETERS = re.compile(r"\{(\w+)\}")
_REFERENCE = "#/components/schemas/{model}"
_JSON = "application/json"

_ABOUT = """
The API of streamproxy. Its paths, fields and answers are those of m3u-proxy, with more beside them.

Where `server.api_token` is set, it is shown in one of three ways: as header `X-API-Token`, as
`Authorization: Bearer`, or as `?api_token=`. Without one everybody may look and this machine may change things, and the
addresses of providers are shown to nobody: only their hosts. Lists and streams are for everybody, or for who knows
`server.stream_token`.
"""

_SECURITY_SCHEMES = {
    "X-API-Token": {"type": "apiKey", "in": "header", "name": "X-API-Token", "description": "server.api_token"},
    "bearer": {"type": "http", "scheme": "bearer", "description": "server.api_token"},
    "api_token": {"type": "apiKey", "in": "query", "name": "api_token", "description": "server.api_token"},
    "token": {"type": "apiKey", "in": "query", "name": "token", "description": "server.stream_token"},
}
_API_TOKEN: list[dict[str, list[str]]] = [{"X-API-Token": []}, {"bearer": []}, {"api_token": []}]
_STREAM_TOKEN: list[dict[str, list[str]]] = [{"token": []}, *_API_TOKEN]

_REFUSALS = {
    401: "No token was shown",
    403: "The token is wrong, or this client may not do this",
    404: "There is no such thing",
    409: "Not now",
    413: "The body is too large",
}
_SCHEMAS = {
    "Refusal": {
        "type": "object",
        "description": "What went wrong.",
        "properties": {"detail": {"type": "string"}},
        "required": ["detail"],
    },
    "Mistakes": {
        "type": "object",
        "description": "What is not as it should be.",
        "properties": {"detail": {"type": "array", "items": {"$ref": _REFERENCE.format(model="Mistake")}}},
        "required": ["detail"],
    },
    "Mistake": {
        "type": "object",
        "description": "Something that is not as it should be.",
        "properties": {
            "type": {"type": "string"},
            "loc": {"type": "array", "items": {"type": ["string", "integer"]}},
            "msg": {"type": "string"},
            "input": {},
            "ctx": {"type": "object"},
        },
        "required": ["type", "loc", "msg", "input"],
    },
}

_References = Mapping[tuple[type[BaseModel], JsonSchemaMode], Any]
"""Where the schema of a model is found, by what it is for."""


@dataclass(frozen=True, slots=True)
class _Endpoint:
    """What is served at a path, for one method."""

    face: Face
    method: str
    path: str
    module: str
    operation: Operation


class Publication:
    """The document, for each address under which clients reach the program."""

    def __init__(self, tables: Iterable[tuple[Face, Iterable[web.AbstractRouteDef]]]) -> None:
        """Prepare.

        Args:
            tables: What is served to whom, without a prefix.
        """
        self._endpoints = list(_endpoints(tables))
        self._written: dict[tuple[str, bool, bool], bytes] = {}

    def written(self, base: str, *, api_token: bool, stream_token: bool) -> bytes:
        """Return the document as JSON.

        Args:
            base: The address under which a client reaches the program.
            api_token: Whether the API asks for a token.
            stream_token: Whether lists and streams ask for one.
        """
        key = (base, api_token, stream_token)
        written = self._written.get(key)
        if written is None:
            written = json.dumps(self.document(base, api_token=api_token, stream_token=stream_token)).encode()
            while len(self._written) >= _MOST_KEPT:
                del self._written[next(iter(self._written))]
            self._written[key] = written
        return written

    @cached_property
    def _schemas(self) -> tuple[dict[str, Any], _References]:
        return _schemas(each.operation for each in self._endpoints)

    def document(self, base: str, *, api_token: bool, stream_token: bool) -> dict[str, Any]:
        """Write the document; see `written`."""
        schemas, references = self._schemas
        security = {
            Face.API: _API_TOKEN if api_token else [],
            Face.MEDIA: _STREAM_TOKEN if stream_token else [],
            Face.PUBLIC: [],
        }
        paths: dict[str, dict[str, Any]] = {}
        for each in self._endpoints:
            described = {"operationId": _name(each), "tags": [_tag(each)], "security": security[each.face]}
            paths.setdefault(each.path, {})[each.method.lower()] = described | _described(each, references)
        return {
            "openapi": "3.1.0",
            "info": {
                "title": "streamproxy",
                "version": __version__,
                "description": _ABOUT.strip(),
                "license": {"name": "MIT", "identifier": "MIT"},
            },
            "servers": [{"url": base}],
            "paths": paths,
            "components": {"schemas": schemas, "securitySchemes": _SECURITY_SCHEMES},
        }


PUBLICATION = web.AppKey("publication", Publication)


@routes.get("/openapi.json")
async def openapi(request: web.Request) -> web.StreamResponse:
    """Send the document."""
    server = request.app[SETTINGS].config.server
    base = base_url(request)
    if server.stream_token is not None:
        # The API is not below it.
        base = base.removesuffix(f"/token/{quote(server.stream_token, safe='')}")
    body = request.app[PUBLICATION].written(
        base, api_token=server.api_token is not None, stream_token=server.stream_token is not None
    )
    return web.Response(body=body, content_type=_JSON, headers={hdrs.CACHE_CONTROL: "no-cache"})


def _endpoints(tables: Iterable[tuple[Face, Iterable[web.AbstractRouteDef]]]) -> Iterator[_Endpoint]:
    for face, table in tables:
        for route in table:
            assert isinstance(route, web.RouteDef)
            described = operation_of(route.handler) or MEDIA.get((route.method, route.path))
            if described:
                yield _Endpoint(face, route.method, route.path, route.handler.__module__, described)


def _schemas(operations: Iterable[Operation]) -> tuple[dict[str, Any], _References]:
    """Write the schemas of all models of bodies and answers, and where each is found."""
    wanted: dict[tuple[type[BaseModel], JsonSchemaMode], None] = {}
    for each in operations:
        if each.body:
            wanted[each.body, "validation"] = None
        if each.answer:
            wanted[each.answer, "serialization"] = None
    references, definitions = models_json_schema(list(wanted), ref_template=_REFERENCE)
    return {**definitions.get("$defs", {}), **_SCHEMAS}, cast(_References, references)


def _described(endpoint: _Endpoint, references: _References) -> dict[str, Any]:
    told = endpoint.operation
    described: dict[str, Any] = {
        "summary": told.summary,
        "description": told.description,
        "parameters": list(_parameters(endpoint)),
        "responses": _responses(endpoint, references),
    }
    if told.body:
        content = {_JSON: {"schema": references[told.body, "validation"]}}
        described["requestBody"] = {"required": told.body_required, "content": content}
    return {key: value for key, value in described.items() if value}


def _parameters(endpoint: _Endpoint) -> Iterator[dict[str, Any]]:
    for name in _PATH_PARAMETERS.findall(endpoint.path):
        yield {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
    if endpoint.operation.query is None:
        return
    schema = endpoint.operation.query.model_json_schema()
    required = schema.get("required", ())
    for name, described in schema["properties"].items():
        parameter = {"name": name, "in": "query", "required": name in required, "schema": _plain(described)}
        if "description" in described:
            parameter["description"] = described["description"]
        yield parameter


def _plain(described: Mapping[str, Any]) -> dict[str, Any]:
    """Describe a value of a query: there is no null in it."""
    choices = [each for each in described.get("anyOf", ()) if each != {"type": "null"}]
    own = {key: value for key, value in described.items() if key not in ("anyOf", "title", "description")}
    if len(choices) == 1:
        own |= choices[0]
    return {key: value for key, value in own.items() if value is not None}


def _responses(endpoint: _Endpoint, references: _References) -> dict[str, Any]:
    told = endpoint.operation
    answered: dict[str, Any] = {"description": "It is done" if endpoint.method != hdrs.METH_GET else "Here it is"}
    if told.answer:
        answered["content"] = {_JSON: {"schema": references[told.answer, "serialization"]}}
    elif endpoint.method != hdrs.METH_HEAD:
        answered["content"] = {told.media_type: {"schema": {"type": "string"}}}
    responses = {"200": answered}
    for status, why in sorted((_usual_refusals(endpoint) | dict(told.errors)).items()):
        responses[str(status)] = _refusal(endpoint, why, "Refusal")
    # Players get what there is, whatever else they say.
    if (told.body or told.query) and endpoint.face is Face.API:
        responses["422"] = _refusal(endpoint, "What was asked is not as it should be", "Mistakes")
    return responses


def _usual_refusals(endpoint: _Endpoint) -> dict[int, str]:
    kind = kind_of(endpoint.face, endpoint.method)
    statuses = [] if kind is Kind.PUBLIC else [401, 403]
    if endpoint.operation.body:
        statuses.append(413)
    return {status: _REFUSALS[status] for status in statuses}


def _refusal(endpoint: _Endpoint, why: str, model: str) -> dict[str, Any]:
    if endpoint.method == hdrs.METH_HEAD:
        return {"description": why}
    return {"description": why, "content": {_JSON: {"schema": {"$ref": _REFERENCE.format(model=model)}}}}


def _tag(endpoint: _Endpoint) -> str:
    return "media" if endpoint.face is Face.MEDIA else endpoint.module.rpartition(".")[2]


def _name(endpoint: _Endpoint) -> str:
    """Name an operation: `get_streams_id` for `GET /streams/{id}`."""
    return "_".join([endpoint.method.lower(), *(re.findall("[a-z0-9]+", endpoint.path.lower()) or ["root"])])
