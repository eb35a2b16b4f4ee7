"""What each command asks, what it writes, and how it ends."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.client.conftest import Run
from tests.cli.client.fake import CLIENT, IDLE, STATS, STREAM, TOTALS, Fake, says, sends

ID = str(STREAM["stream_id"])
CREATED = {
    "stream_id": ID,
    "stream_endpoint": f"/stream/{ID}",
    "message": "Stream created successfully (direct)",
}
DONE = {"message": "it is done"}
EVIL = "\x1b]0;owned\x07\x1b[2J\x9b1m\u202e[bold]x[/bold]"


def test_create_sends_what_was_said_and_tells_where_to_watch(fake: Fake, run: Run) -> None:
    fake.on("POST /streams", says(CREATED))

    ended = run(
        *("create", "http://p/1.ts", "--failover", "http://q/1.ts", "--failover", "http://r/1.ts"),
        *("--user-agent", "UA", "--header", "Referer: http://s/", "--metadata", "id=4=2", "--strict-live-ts"),
    )

    assert ended.exit_code == 0
    assert fake.requests[0].document == {
        "url": "http://p/1.ts",
        "failover_urls": ["http://q/1.ts", "http://r/1.ts"],
        "user_agent": "UA",
        "headers": {"Referer": "http://s/"},
        "metadata": {"id": "4=2"},
        "strict_live_ts": True,
    }
    assert ended.stdout == f"{CREATED['message']}\nID       {ID}\nAddress  {fake.url}/stream/{ID}\n"


def test_create_sends_nothing_that_was_not_said(fake: Fake, run: Run) -> None:
    fake.on("POST /streams", says(CREATED))

    assert run("create", "http://p/1.ts", "--json").exit_code == 0
    assert fake.requests[0].document == {"url": "http://p/1.ts"}


def test_create_with_a_profile_transcodes(fake: Fake, run: Run) -> None:
    fake.on("POST /transcode", says(CREATED))

    assert run("create", "http://p/1.ts", "--profile", "hq", "--output-format", "hls").exit_code == 0
    assert fake.requests[0].document == {"url": "http://p/1.ts", "profile": "hq", "output_format": "hls"}


@pytest.mark.parametrize(
    "arguments",
    [
        ["create"],
        ["create", "http://p/1.ts", "--output-format", "hls"],
        ["create", "http://p/1.ts", "--header", "secret"],
        ["create", "http://p/1.ts", "--metadata", "=secret"],
        ["info", ""],
        ["delete", "../"],
        ["disconnect"],
        ["webhooks", "add"],
        ["webhooks", "add", "http://h/", "--timeout", "0"],
        ["webhooks", "add", "http://h/", "--retries", "-1"],
        ["monitor", "--interval", "0"],
        ["list", "--base-url", "ftp://secret"],
        ["list", "--token", "sec ret"],
    ],
)
def test_a_wrong_use_ends_with_2_and_asks_nothing(fake: Fake, run: Run, arguments: list[str]) -> None:
    ended = run(*arguments)

    assert ended.exit_code == 2
    assert "secret" not in ended.output
    assert fake.requests == []


def test_list_shows_what_is_on_and_counts_the_rest(fake: Fake, run: Run) -> None:
    fake.on("GET /streams", says({"streams": [STREAM, IDLE, "?", 7], "total": 3}))
    fake.on("GET /streams?limit=1000&offset=0", says({"streams": [STREAM, IDLE], "total": 3}))
    fake.on("GET /streams?limit=1000&offset=2", says({"streams": [IDLE | {"name": "Last"}], "total": 3}))

    some, every = run("list"), run("list", "--all")

    assert ID in some.stdout
    assert all(
        each in some.stdout for each in ("Das Erste", "Live Continuous", "4.0 Mbit/s", "3.0 GiB", "backup 1 of 1")
    )
    assert "Nobody" not in some.stdout
    assert some.stderr == "2 more are idle; --all lists them too\n"
    assert every.stdout.index("Nobody") < every.stdout.index("Last")
    assert every.stderr == ""
    assert [each["name"] for each in json.loads(run("list", "--all", "--json").stdout)["streams"]][1:] == [
        "Nobody",
        "Last",
    ]


def test_list_says_so_when_there_is_nothing(fake: Fake, run: Run) -> None:
    fake.on("GET /streams", says({"streams": [], "total": 0}))
    fake.on("GET /streams?limit=1000&offset=0", says({"streams": [], "total": 9}))

    assert run("list").stdout == "no stream is on\n"
    assert run("list", "--all").stdout == "no streams\n"


def test_people_see_no_address_of_a_provider_but_its_host(fake: Fake, run: Run) -> None:
    nameless = STREAM | {"name": None}
    fake.on("GET /streams", says({"streams": [nameless]}))
    fake.on(f"GET /streams/{ID}", says({"stream": nameless, "clients": [], "client_count": 0}))
    fake.on(f"POST /streams/{ID}/failover", says({**DONE, "new_url": STREAM["current_url"], "failover_index": 0}))

    for arguments in (["list"], ["info", ID], ["failover", ID]):
        shown = run(*arguments).stdout
        assert "http://provider.example" in shown or "http://backup.example" in shown
        assert "secret" not in shown


def test_info_shows_a_stream_and_its_clients(fake: Fake, run: Run) -> None:
    fake.on(f"GET /streams/{ID}", says({"stream": STREAM, "clients": [CLIENT], "client_count": 1}))

    shown = run("info", ID).stdout

    assert "Name        Das Erste\n" in shown
    assert "Metadata    id=42\n" in shown
    assert all(each in shown for each in ("client_1", "192.0.2.7", "VLC/3.0", "7.9 Mbit/s", "5.0 MiB", "2× 1.5 MiB"))


@pytest.mark.parametrize(
    ("arguments", "asked"),
    [
        (["delete", "a/b"], "DELETE /streams/a%2Fb"),
        (["failover", "a"], "POST /streams/a/failover"),
        (["disconnect", "client 1"], "DELETE /clients/client%201"),
        (["webhooks", "delete", "http://h/?a=1&b"], "DELETE /webhooks?webhook_url=http%3A%2F%2Fh%2F%3Fa%3D1%26b"),
        (["webhooks", "test", "http://h/"], "POST /webhooks/test?webhook_url=http%3A%2F%2Fh%2F"),
        (["webhooks", "add", "http://h/"], "POST /webhooks"),
    ],
)
def test_what_is_to_be_done_is_asked_and_the_answer_shown(
    fake: Fake, run: Run, arguments: list[str], asked: str
) -> None:
    fake.on(asked, says(DONE))

    told, as_json = run(*arguments), run(*arguments, "--json")

    assert told.exit_code == as_json.exit_code == 0
    assert told.stdout.startswith("it is done\n")
    assert json.loads(as_json.stdout) == DONE


def test_clients_lists_all_of_them(fake: Fake, run: Run) -> None:
    fake.on("GET /clients", says({"total_clients": 1, "clients": [CLIENT]}), says({"total_clients": 0, "clients": []}))

    assert "client_1" in run("clients").stdout
    assert run("clients").stdout == "nobody watches\n"


def test_clients_lists_those_of_a_stream_under_its_name(fake: Fake, run: Run) -> None:
    fake.on(f"GET /streams/{ID}", says({"stream": STREAM, "clients": [CLIENT], "client_count": 1}))

    shown = run("clients", ID).stdout

    assert "client_1" in shown
    assert "Das Erste" in shown


def test_clients_shows_a_single_one(fake: Fake, run: Run) -> None:
    fake.on("GET /clients/client_1", says(CLIENT))

    assert "192.0.2.7" in run("clients", "client_1").stdout
    assert run("clients", "client_2").exit_code == 1


def test_stats_adds_up(fake: Fake, run: Run) -> None:
    fake.on("GET /stats", says(STATS))

    assert run("stats").stdout.splitlines() == [
        "Streams   1 on, 2 in all",
        "Clients   2",
        "Sending   8.0 Mbit/s",
        "Sent      4.0 GiB",
        "Segments  7",
        "Up for    1 d 2 h",
    ]


def test_a_healthy_server_is_well(fake: Fake, run: Run) -> None:
    fake.on("GET /health", says({"status": "healthy", "version": "1.2", "uptime_seconds": 60, **TOTALS}))

    ended = run("health")

    assert ended.exit_code == 0
    assert ended.stdout.startswith("healthy\nVersion     1.2\n")


@pytest.mark.parametrize(
    ("answer", "shown"),
    [
        ([{"status": "error", "error": "no disk"}, 500], "error\nError  no disk\n"),
        ({"status": "ill"}, "ill\n"),
        ({}, "no status\n"),
    ],
)
def test_a_server_that_is_not_well_ends_with_1(fake: Fake, run: Run, answer: object, shown: str) -> None:
    fake.on("GET /health", says(answer))

    ended, as_json = run("health"), run("health", "--json")

    assert ended.exit_code == as_json.exit_code == 1
    assert ended.stdout == shown
    assert json.loads(as_json.stdout) == answer


def test_webhooks_add_sends_what_was_said(fake: Fake, run: Run) -> None:
    fake.on("POST /webhooks", says(DONE))

    run(
        *("webhooks", "add", "http://h/", "--event", "splice", "--event", "stream_failed", "--header", "A: b"),
        *("--timeout", "2.5", "--retries", "0", "--secret", "s"),
    )

    assert fake.requests[0].document == {
        "url": "http://h/",
        "events": ["splice", "stream_failed"],
        "headers": {"A": "b"},
        "timeout": 2.5,
        "retry_attempts": 0,
        "secret": "s",
    }


def test_webhooks_list_shows_what_became_of_the_events(fake: Fake, run: Run) -> None:
    hook = {"url": "http://h/", "events": ["splice"], "timeout": 10.0, "retry_attempts": 3}
    counters = {"delivered": 11, "failed": 12, "dropped": 13, "pending": 14}
    fake.on("GET /webhooks", says({"webhooks": [hook | counters, hook]}), says({"webhooks": []}))

    shown = run("webhooks", "list").stdout

    assert shown.splitlines()[-2].split() == ["http://h/", "splice", "10", "s", "3", "11", "12", "13", "14"]
    assert shown.splitlines()[-1].split()[-4:] == ["–"] * 4
    assert run("webhooks", "list").stdout == "no webhooks\n"


def test_a_test_that_was_not_delivered_ends_with_1(fake: Fake, run: Run) -> None:
    fake.on("POST /webhooks/test?webhook_url=x", says({**DONE, "delivered": False}))

    assert run("webhooks", "test", "x").exit_code == 1


READING = [
    (["list"], "GET /streams", {"streams": [STREAM], "total": 1}),
    (["info", "a"], "GET /streams/a", {"stream": STREAM, "clients": [CLIENT], "client_count": 1}),
    (["clients"], "GET /clients", {"clients": [CLIENT], "total_clients": 1}),
    (["stats"], "GET /stats", STATS),
    (["health"], "GET /health", {"status": "healthy", **TOTALS}),
    (["webhooks", "list"], "GET /webhooks", {"webhooks": [{"url": "http://h/"}]}),
]


@pytest.mark.parametrize(("arguments", "asked", "answer"), READING)
def test_json_is_what_the_server_says(fake: Fake, run: Run, arguments: list[str], asked: str, answer: object) -> None:
    fake.on(asked, says(answer))

    ended = run(*arguments, "--json")

    assert json.loads(ended.stdout) == answer
    assert ended.stderr == ""


def spoilt(value: Any, by: object) -> Any:
    """Replace every value in a document that is neither an object nor a list."""
    if isinstance(value, dict):
        return {name: spoilt(each, by) for name, each in value.items()}
    return [spoilt(each, by) for each in value] if isinstance(value, list) else by


@pytest.mark.parametrize("by", [EVIL, None, -1, 1e300, 10**300, [], {}, {"x": [EVIL]}, True, "x" * 100_000], ids=str)
@pytest.mark.parametrize(("arguments", "asked", "answer"), READING)
def test_no_answer_does_anything_to_a_terminal(
    fake: Fake, run: Run, arguments: list[str], asked: str, answer: object, by: object
) -> None:
    fake.on(asked, says(spoilt(answer, by)))

    for more in ([], ["--json"]):
        ended = run(*arguments, *more)
        assert ended.exit_code in (0, 1)
        assert ended.exception is None or isinstance(ended.exception, SystemExit)
        assert not set("\x1b\x07\x9b\u202e\x7f") & set(ended.output)


@pytest.mark.parametrize("answer", [None, [], {}, "x", 5, {"streams": 1, "stream": 1, "clients": 1, "webhooks": {}}])
@pytest.mark.parametrize(("arguments", "asked", "_"), READING)
def test_an_answer_of_another_shape_ends_with_1_and_a_reason(
    fake: Fake, run: Run, arguments: list[str], asked: str, _: object, answer: object
) -> None:
    fake.on(asked, says(answer))

    ended = run(*arguments)

    assert ended.exit_code == 1
    assert ended.output
    assert ended.exception is None or isinstance(ended.exception, SystemExit)


@pytest.mark.parametrize("arguments", [each[0] for each in READING] + [["monitor"], ["events"], ["disconnect", "x"]])
@pytest.mark.parametrize(("status", "code"), [(401, 77), (403, 77), (404, 1), (500, 1), (503, 1), (301, 1)])
def test_a_refusal_has_its_code_and_its_reason(
    fake: Fake, run: Run, monkeypatch: pytest.MonkeyPatch, arguments: list[str], status: int, code: int
) -> None:
    monkeypatch.setattr(fake, "answer", lambda _: sends(status, b'{"detail": "for a reason"}'))

    ended = run(*arguments, "--token", "hush")

    assert ended.exit_code == code
    assert "for a reason" in ended.stderr or "301" in ended.stderr
    assert "hush" not in ended.output
    assert ended.stdout == ""


@pytest.mark.parametrize("arguments", [["list"], ["monitor"], ["events"], ["webhooks", "list"]])
def test_no_connection_ends_with_69_and_what_to_check(run: Run, arguments: list[str]) -> None:
    ended = run(*arguments, base_url="http://127.0.0.1:1")

    assert ended.exit_code == 69
    assert "--base-url" in ended.stderr


@pytest.mark.parametrize(
    ("environment", "token"),
    [
        ({"STREAMPROXY_TOKEN": "a", "API_TOKEN": "b"}, "a"),
        ({"API_TOKEN": "b"}, "b"),
        ({"STREAMPROXY_TOKEN": "", "API_TOKEN": ""}, None),
    ],
)
def test_the_token_comes_from_the_environment(
    fake: Fake, run: Run, environment: dict[str, str], token: str | None
) -> None:
    fake.on("GET /streams", says({"streams": []}))

    run("list", **environment)
    run("list", "--token", "c", **environment)

    assert [request.headers.get("x-api-token") for request in fake.requests] == [token, "c"]
    assert "b" not in run("list", "--help", API_TOKEN="b-secret").output.split()


def test_the_configuration_says_where_the_server_is_and_with_which_token(fake: Fake, run: Run) -> None:
    fake.on("GET /tv/streams", says({"streams": []}))
    Path("config.yml").write_text(
        f"server: {{host: 127.0.0.1, port: {fake.port}, root_path: /tv, api_token: from-the-file}}\n"
    )

    assert run("list", base_url=None).exit_code == 0
    assert fake.requests[0].headers["x-api-token"] == "from-the-file"


def test_a_configuration_that_cannot_be_used_ends_with_78_unless_it_is_not_needed(fake: Fake, run: Run) -> None:
    fake.on("GET /streams", says({"streams": []}))
    Path("config.yml").write_text("server: {prot: 1}\n")

    without = run("list", base_url=None)

    assert without.exit_code == 78
    assert "--base-url" in without.stderr
    assert run("list").exit_code == 0


def test_the_variables_of_the_client_are_no_mistakes_of_the_configuration(run: Run) -> None:
    ended = run("check-config", STREAMPROXY_TOKEN="x")

    assert ended.exit_code == 0


def test_tables_for_pipes_are_neither_coloured_nor_cut(fake: Fake, run: Run) -> None:
    long = STREAM | {"name": "n" * 150}
    fake.on("GET /streams", says({"streams": [long]}))

    shown = run("list", COLUMNS="40", FORCE_COLOR="1", CLICOLOR_FORCE="1").stdout

    assert "n" * 150 in shown
    assert "\x1b" not in shown


def test_help_lists_commands_in_two_groups(run: Run) -> None:
    shown = run("--help").stdout
    running, talking = shown.index("Running it:"), shown.index("Talking to one that runs:")

    assert running < shown.index("\n  serve ") < shown.index("\n  check-config ") < talking
    for name in (
        "create",
        "list",
        "info",
        "delete",
        "failover",
        "clients",
        "disconnect",
        "stats",
        "health",
        "webhooks",
    ):
        assert shown.index(f"\n  {name} ") > talking
        assert run(name, "--help").exit_code == 0
    assert run("nonsense").exit_code == 2
