"""The description of the API says what there is, in a form that other programs read."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from streamproxy.api.contract import operation_of
from streamproxy.api.media import MEDIA
from streamproxy.api.openapi import Publication
from streamproxy.server.app import ROUTES
from streamproxy.web import Face
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.proxy import config, running

one_loop = pytest.mark.asyncio(loop_factories=["uvloop"])


def document(*, api_token: bool = True, stream_token: bool = False) -> Any:
    published = Publication(ROUTES).written("http://tv.example/iptv", api_token=api_token, stream_token=stream_token)
    return json.loads(published)


def operations(described: Any) -> Iterator[tuple[str, str, Any]]:
    for path, methods in described["paths"].items():
        for method, told in methods.items():
            yield method.upper(), path, told


def routes(face: Face) -> set[tuple[str, str]]:
    tables = [table for of, table in ROUTES if of is face]
    return {(route.method, route.path) for table in tables for route in table if isinstance(route, web.RouteDef)}


def test_every_endpoint_is_described_once() -> None:
    described = [(method, path) for method, path, _ in operations(document())]

    assert set(described) == routes(Face.API) | MEDIA.keys()
    assert MEDIA.keys() <= routes(Face.MEDIA)


def test_every_endpoint_of_the_api_says_what_it_takes_and_answers() -> None:
    handlers = [route.handler for face, table in ROUTES for route in table if face is Face.API]  # type: ignore[attr-defined]

    assert all(operation_of(handler) for handler in handlers)


def test_operations_have_names_of_their_own() -> None:
    names = [told["operationId"] for _, _, told in operations(document())]

    assert len(set(names)) == len(names)
    assert "get_streams_id" in names


def test_every_reference_leads_somewhere() -> None:
    described = document()
    references = re.findall(r'"\$ref": "#/components/schemas/([^"]+)"', json.dumps(described))

    assert references
    assert set(references) <= described["components"]["schemas"].keys()


def test_parameters_of_paths_are_those_that_stand_in_them() -> None:
    for method, path, told in operations(document()):
        named = [each["name"] for each in told.get("parameters", ()) if each["in"] == "path"]
        assert named == re.findall(r"\{(\w+)\}", path), (method, path)
        assert "200" in told["responses"]


def test_refusals_and_mistakes_have_their_shapes() -> None:
    told = document()["paths"]["/streams/by-metadata"]["delete"]
    schemas = {
        status: answer["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        for status, answer in told["responses"].items()
    }

    assert schemas == {
        "200": "StreamsDeleted",
        "401": "Refusal",
        "403": "Refusal",
        "422": "Mistakes",
        "503": "Refusal",
    }
    (value,) = [each for each in told["parameters"] if each["name"] == "value"]
    assert value["required"] is True
    assert value["description"]


def test_a_body_that_may_be_missing_is_described_so() -> None:
    paths = document()["paths"]

    assert paths["/webhooks"]["delete"]["requestBody"]["required"] is False
    assert paths["/webhooks"]["post"]["requestBody"]["required"] is True


@pytest.mark.parametrize(("api_token", "stream_token"), [(False, False), (True, False), (False, True), (True, True)])
def test_tokens_are_asked_for_where_they_are_needed(api_token: bool, stream_token: bool) -> None:
    paths = document(api_token=api_token, stream_token=stream_token)["paths"]

    assert bool(paths["/streams"]["post"]["security"]) is api_token
    assert bool(paths["/stream/{id}"]["get"]["security"]) is stream_token


@one_loop
async def test_the_description_is_for_the_address_that_it_was_asked_at(tmp_path: Path) -> None:
    server = {"root_path": "/iptv", "stream_token": "watch-s3cret", "trusted_proxies": ["127.0.0.1"]}
    async with running(config(tmp_path, server=server)) as proxy:
        own = await proxy.get("/openapi.json?token=watch-s3cret")
        kept = await proxy.get("/iptv/openapi.json")
        behind = await proxy.get(
            "/openapi.json", headers={"X-Forwarded-Host": "tv.example", "X-Forwarded-Prefix": "/tv"}
        )
    addresses = [json.loads(answer.body)["servers"] for answer in (own, kept, behind)]

    assert addresses == [
        [{"url": f"http://127.0.0.1:{proxy.port}/iptv"}],
        [{"url": f"http://127.0.0.1:{proxy.port}/iptv"}],
        [{"url": "http://tv.example/tv"}],
    ]
    assert not any(path.startswith("/iptv") for path in json.loads(own.body)["paths"])
    assert own.headers["content-type"] == "application/json"


def test_no_more_documents_are_kept_than_there_are_likely_addresses() -> None:
    publication = Publication(ROUTES)
    for number in range(50):
        publication.written(f"http://{number}.example", api_token=False, stream_token=False)

    assert len(publication._written) <= 8


def test_what_is_described_is_what_is_checked() -> None:
    properties = document()["components"]["schemas"]["WebhookBody"]["properties"]
    retries, timeout = properties["retry_attempts"], properties["timeout"]

    assert (retries["type"], retries["minimum"], retries["maximum"]) == ("integer", 0, 100)
    assert (timeout["type"], timeout["minimum"], timeout["maximum"]) == ("number", 1, 3600)
