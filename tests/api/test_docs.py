"""The documentation is a page of files that come with the program, and works wherever a reverse proxy puts it."""

import gzip
import hashlib
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web

from streamproxy.config.channels import RESERVED_NAMES
from tests.helpers.browser import PROGRAM, browser, page
from tests.helpers.deadline import deadline  # noqa: F401 - a fixture
from tests.helpers.proxy import Proxy, config, running

STATIC = Path(__file__).resolve().parents[2] / "streamproxy" / "static"
TOKENS = {"api_token": "api-s3cret", "stream_token": "watch-s3cret"}

OPERATIONS = """new Promise(done => {
    const look = () => {
        const found = document.querySelector("rapi-doc").shadowRoot.querySelectorAll(".m-endpoint .path");
        found.length ? done([...found].map(each => each.textContent.trim())) : setTimeout(look, 20);
    };
    look();
})"""


@asynccontextmanager
async def reverse_proxy(proxy: Proxy, prefix: str) -> AsyncIterator[str]:
    """Serve the program below a prefix that it does not know of; gives the address."""

    async def pass_on(request: web.Request) -> web.Response:
        async with aiohttp.ClientSession(auto_decompress=False) as session:
            url = f"http://127.0.0.1:{proxy.port}/{request.match_info['rest']}?{request.query_string}"
            async with session.request(
                request.method, url, headers=dict(request.headers), allow_redirects=False
            ) as answer:
                left_out = ("Transfer-Encoding", "Content-Length")
                headers = {name: value for name, value in answer.headers.items() if name not in left_out}
                return web.Response(status=answer.status, headers=headers, body=await answer.read())

    app = web.Application()
    app.router.add_route("*", f"{prefix}/{{rest:.*}}", pass_on)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}{prefix}"
    finally:
        await runner.cleanup()


@pytest.mark.asyncio(loop_factories=["uvloop"])  # a browser cannot tell one from the other
@pytest.mark.skipif(PROGRAM is None, reason="needs Chromium")
async def test_a_browser_shows_every_operation_and_asks_nobody_else(tmp_path: Path) -> None:
    settings = config(tmp_path, server=TOKENS | {"root_path": "/iptv"})
    async with running(settings) as proxy, reverse_proxy(proxy, "/behind/it") as behind:
        own = f"http://127.0.0.1:{proxy.port}"
        told = json.loads((await proxy.get("/openapi.json")).body)["paths"]
        with browser() as debugger:
            for address, base in (
                (f"{own}/docs", own),
                (f"{own}/iptv/docs/", f"{own}/iptv"),
                (f"{behind}/redoc", behind),
            ):
                async with page(debugger, address) as opened:
                    shown = await opened.run(OPERATIONS)
                    asked = await opened.run("performance.getEntriesByType('resource').map(each => each.name)")
                    server = await opened.run("document.querySelector('rapi-doc').selectedServer.computedUrl")

                    assert opened.complaints == []
                assert sorted(set(shown)) == sorted(told)
                assert server.rstrip("/") == base
                names = {re.sub(r"\?.*", "", url.removeprefix(base)) for url in asked}
                assert names >= {"/openapi.json", "/static/docs.css", "/static/docs.js", "/static/rapidoc-min.js"}
                assert all(url.startswith(f"{base}/") for url in asked)


async def test_the_documentation_is_for_everybody(tmp_path: Path) -> None:
    async with running(config(tmp_path, server=TOKENS | {"root_path": "/iptv"})) as proxy:
        for path in ("/docs", "/openapi.json", "/static/rapidoc-min.js", "/favicon.ico", "/iptv/docs"):
            assert [(await proxy.get(path, method=method)).status for method in ("GET", "HEAD")] == [200, 200]


async def test_only_what_the_page_is_made_of_can_be_had(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy:
        for name in (
            "",
            "THIRD_PARTY.md",
            "docs.py",
            "..",
            "../api/docs.py",
            "..%2Fapi%2Fdocs.py",
            "%2e%2e/api/docs.py",
            "/etc/hostname",
            "%2Fetc%2Fhostname",
            "docs.js%00",
            "DOCS.JS",
        ):
            assert (await proxy.get(f"/static/{name}")).status == 404, name


@pytest.mark.parametrize(
    ("path", "where"), [("/redoc", "docs"), ("/docs/", "../docs"), ("/redoc/", "../docs"), ("/iptv/redoc", "docs")]
)
async def test_other_addresses_lead_to_the_page(tmp_path: Path, path: str, where: str) -> None:
    async with running(config(tmp_path, server={"root_path": "/iptv"})) as proxy:
        answer = await proxy.get(path)

    assert (answer.status, answer.headers["location"]) == (307, where)


async def test_files_are_sent_packed_and_kept_until_they_change(tmp_path: Path) -> None:
    script = (STATIC / "rapidoc-min.js").read_bytes()
    async with running(config(tmp_path)) as proxy:
        found = re.search(rb'"(static/rapidoc-min\.js\?\w+)"', (await proxy.get("/docs")).body)
        assert found
        address = f"/{found[1].decode()}"
        packed = await proxy.get(address, headers={"Accept-Encoding": "gzip"})
        plain = await proxy.get(address)
        known = await proxy.get(address, headers={"If-None-Match": plain.headers["etag"]})

    assert gzip.decompress(packed.body) == plain.body == script
    assert packed.headers["vary"] == "Accept-Encoding"
    assert "immutable" in plain.headers["cache-control"]
    assert (known.status, known.body) == (304, b"")
    assert plain.headers["content-type"] == "text/javascript; charset=utf-8"


async def test_the_page_runs_no_script_but_its_own_and_is_no_part_of_another(tmp_path: Path) -> None:
    async with running(config(tmp_path)) as proxy:
        answer = await proxy.get("/docs")
    policy = dict(each.split(" ", 1) for each in answer.headers["content-security-policy"].split("; "))

    assert (policy["default-src"], policy["script-src"], policy["connect-src"]) == ("'none'", "'self'", "'self'")
    assert policy["frame-ancestors"] == "'none'"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_what_comes_from_others_is_what_its_note_says() -> None:
    note = (STATIC / "THIRD_PARTY.md").read_text()
    sums = {name: digest for digest, name in re.findall(r"^    ([0-9a-f]{64})  (\S+)$", note, flags=re.MULTILINE)}

    assert sums == {"rapidoc-min.js": hashlib.sha256((STATIC / "rapidoc-min.js").read_bytes()).hexdigest()}
    script = (STATIC.parents[1] / "scripts" / "vendor").read_text()
    assert sums["rapidoc-min.js"] in script
    version = re.search("RapiDoc ([0-9.]+)", note)
    assert version
    assert f"version={version[1]}" in script
    assert f"RapiDoc {version[1]} ".encode() in (STATIC / "rapidoc-min.js").read_bytes()[:100]


def test_no_stream_is_called_like_a_page() -> None:
    assert {"docs", "redoc", "openapi.json", "static", "events", "favicon.ico", "webhooks"} <= RESERVED_NAMES
