"""What an endpoint takes and answers, said once: in its signature, which is checked, carried out and published.

A handler is written as

```python
@routes.post("/streams")
@operation("Make a stream", errors={404: "There is no such stream"})
async def create(request: web.Request, body: StreamBody) -> StreamMade: ...
```

Its `body` and `query` are pydantic models, made of the request; what is wrong with that is answered with 422 in the
shape that FastAPI gives it. A body that may be missing is `body: StreamBody | None`. What it returns is a model too.
"""

import inspect
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args, get_type_hints

from aiohttp import web
from pydantic import ValidationError
from pydantic_core import PydanticSerializationError

from streamproxy.api.models import Model

_MOST_BODY = 1 << 20
"""Bytes of a body that are read."""


@dataclass(frozen=True, slots=True)
class Operation:
    """What an endpoint takes and answers.

    Attributes:
        summary: What it does, in a line.
        description: More of it, if there is more to say.
        body: The model of its body; None for none.
        body_required: Whether it must have one.
        query: The model of its query; None for none.
        answer: The model of its answer; None for what is no JSON.
        media_type: What it answers with, where that is no JSON.
        errors: What other statuses than 200 and 422 mean.
    """

    summary: str
    description: str = ""
    body: type[Model] | None = None
    query: type[Model] | None = None
    answer: type[Model] | None = None
    media_type: str = "application/json"
    errors: Mapping[int, str] = field(default_factory=dict)
    body_required: bool = True


Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]

_OPERATION = "__operation__"


def operation(
    summary: str, *, media_type: str = "application/json", errors: Mapping[int, str] | None = None
) -> Callable[[Callable[..., Awaitable[Any]]], Handler]:
    """Make an endpoint of a function; see above."""

    def decorate(function: Callable[..., Awaitable[Any]]) -> Handler:
        hints = get_type_hints(function)
        parameters = inspect.signature(function).parameters
        body, query = (_model(hints.get(name)) if name in parameters else None for name in ("body", "query"))
        required = body is not None and hints["body"] is body
        answer = hints["return"]
        is_model = isinstance(answer, type) and issubclass(answer, Model)

        async def handle(request: web.Request) -> web.StreamResponse:
            given: dict[str, Any] = {}
            if query:
                given["query"] = _checked(query, "query", dict(request.query))
            if body:
                data = await _read(request)
                given["body"] = _checked(body, "body", _parsed(data)) if data or required else None
            answered = await function(request, **given)
            if not isinstance(answered, Model):
                return cast(web.StreamResponse, answered)
            return web.json_response(body=_written(answered))

        handle.__name__, handle.__doc__, handle.__module__ = function.__name__, function.__doc__, function.__module__
        doc = inspect.getdoc(function) or ""
        described = Operation(
            summary, doc, body, query, answer if is_model else None, media_type, dict(errors or {}), required
        )
        setattr(handle, _OPERATION, described)
        return handle

    return decorate


def operation_of(handler: object) -> Operation | None:
    """Return what an endpoint takes and answers; None for a handler that is no endpoint of the API."""
    return getattr(handler, _OPERATION, None)


class Unprocessable(web.HTTPUnprocessableEntity):
    """What was asked is not what it should be: answered with 422 and a list of mistakes."""

    def __init__(self, mistakes: list[dict[str, Any]]) -> None:
        super().__init__(text=json.dumps({"detail": mistakes}), content_type="application/json")


def mistake(kind: str, place: tuple[str | int, ...], message: str, value: Any = None) -> dict[str, Any]:
    """Say what is wrong, in the shape of FastAPI."""
    return {"type": kind, "loc": list(place), "msg": message, "input": value}


def _model(hint: Any) -> type[Model] | None:
    """Take the model out of what an argument may be: a model, or a model or None."""
    return next((each for each in (hint, *get_args(hint)) if isinstance(each, type) and issubclass(each, Model)), None)


def _written(answered: Model) -> bytes:
    try:
        return answered.model_dump_json(exclude=answered.left_out).encode()
    except PydanticSerializationError:
        # Clients may call themselves what is no UTF-8; that is no reason to tell nobody of the others.
        values = answered.model_dump(mode="json", exclude=answered.left_out)
        return json.dumps(values, ensure_ascii=False).encode("utf-8", "replace")


async def _read(request: web.Request) -> bytes:
    data = bytearray()
    async for piece in request.content.iter_any():
        data += piece
        if len(data) > _MOST_BODY:
            raise web.HTTPRequestEntityTooLarge(_MOST_BODY, len(data))
    return bytes(data)


def _parsed(data: bytes) -> Any:
    if not data:
        raise Unprocessable([mistake("missing", ("body",), "Field required")])
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        raise Unprocessable([mistake("json_invalid", ("body", 0), "JSON decode error", {})]) from None


def _checked(model: type[Model], place: str, value: Any) -> Model:
    try:
        return model.model_validate(value)
    except ValidationError as error:
        found = error.errors(include_url=False)
        raise Unprocessable([_as_told(each, place) for each in found]) from None


def _as_told(error: Any, place: str) -> dict[str, Any]:
    told = mistake(error["type"], (place, *error["loc"]), error["msg"], error["input"])
    if "ctx" in error:
        # An exception in it is told as an empty object, as FastAPI does.
        told["ctx"] = {key: {} if isinstance(each, Exception) else each for key, each in error["ctx"].items()}
    return json.loads(json.dumps(told, default=str))  # type: ignore[no-any-return]
