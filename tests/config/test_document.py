import time

import pytest
import yaml

from streamproxy.config import document
from streamproxy.config.document import MAX_DEPTH, MAX_SIZE, compose
from streamproxy.config.node import Position
from streamproxy.config.tags import tags
from streamproxy.errors import ConfigError


@pytest.fixture(autouse=True, params=["libyaml", "pure Python"])
def loader(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "pure Python":
        monkeypatch.setattr(document, "_Loader", yaml.SafeLoader)
    elif not yaml.__with_libyaml__:
        pytest.skip("PyYAML was built without libyaml")


def plain(text: str) -> object:
    root, mistakes = compose(text.encode(), "f", tags({}))
    assert mistakes == []
    return root.plain()


def mistakes(text: str | bytes) -> list[str]:
    raw = text if isinstance(text, bytes) else text.encode()
    try:
        return [str(mistake) for mistake in compose(raw, "f", tags({}))[1]]
    except ConfigError as error:
        return error.mistakes


def test_every_scalar_is_the_text_that_was_written() -> None:
    written = [
        "0123",
        "no",
        "12:30:45",
        "1.10",
        "1e3",
        "true",
        "0o7",
        "2026-11-20",
        "'null'",
        '"~"',
        "!!str ~",
        "!!int 5",
    ]

    assert plain(f"a: [{', '.join(written)}]") == {
        "a": ["0123", "no", "12:30:45", "1.10", "1e3", "true", "0o7", "2026-11-20", "null", "~", "~", "5"]
    }


def test_null_is_null_as_a_value_and_text_as_a_key() -> None:
    assert plain("a: [~, null, Null, NULL, !!null x]\nb:\nnull: 1\n~: 2\non: 3") == {
        "a": [None] * 5,
        "b": None,
        "null": "1",
        "~": "2",
        "on": "3",
    }


@pytest.mark.parametrize("text", ["", "# nothing", "---", "--- # nothing\n...\n", "\ufeff", "null"])
def test_nothing_is_an_empty_mapping(text: str) -> None:
    assert plain(text) == {}


def test_values_and_keys_know_where_they_were_written() -> None:
    root, _ = compose("ä:\n  - {b: 'x'}\n  -   y\n".encode(), "f", tags({}))

    first, _ = root.find(("ä", 0, "b"))
    second, _ = root.find(("ä", 1))

    assert (first.place, first.key_place) == (Position("f", 2, 9), Position("f", 2, 6))
    assert second.place == Position("f", 3, 7)


def test_aliases_and_merge_keys_are_followed() -> None:
    text = "base: &b {x: 1, y: 2}\nmore: &m {y: 3, z: 4}\na: *b\nc: {<<: [*b, *m], x: 0}\nd: {<<: *m}\n*k : 1"

    assert plain(f"k: &k key\n{text}") == {
        "k": "key",
        "base": {"x": "1", "y": "2"},
        "more": {"y": "3", "z": "4"},
        "a": {"x": "1", "y": "2"},
        "c": {"x": "0", "y": "2", "z": "4"},
        "d": {"y": "3", "z": "4"},
        "key": "1",
    }


@pytest.mark.parametrize(
    ("text", "mistake"),
    [
        ("a: 1\nb: 2\na: 3", "f:3:1: a: duplicate key, first on line 1, column 1; remove one of them"),
        ("a: {<<: {}, <<: {}}", "f:1:13: a.<<: duplicate key, first on line 1, column 5; remove one of them"),
        ("a: {<<: 1}", "f:1:9: a: '<<' must name a mapping or a list of mappings"),
        ("? [a]\n: 1", "f:1:3: a key must be text, without a tag of its own"),
        ("a: *b", "f:1:4: a: the alias *b names nothing above it"),
        ("a: &a [*a]", "f:1:8: a.0: the alias *a names nothing above it"),
        ("a: &a 1\nb: &a [*a]", "f:2:8: b.0: the alias *a names nothing above it"),
        ("- 1", "f:1:1: must be a mapping of sections, such as 'server:'"),
        ("text", "f:1:1: must be a mapping of sections, such as 'server:'"),
        ("a: 1\n---\nb: 1", "f:2:1: a second document: a file must hold one, so remove this '---' line"),
        ("a: !x 1", "f:1:4: a: !x is no tag; there are !env, !secret"),
        ("a: !env [x]", "f:1:4: a: !env is no tag for a list or mapping"),
        (
            "a: !!python/object/apply:os.system [ls]",
            "f:1:4: a: tag:yaml.org,2002:python/object/apply:os.system is no tag for a list or mapping",
        ),
        (
            "a: !env NO",
            "f:1:4: a: the environment variable NO is not set; set it, or write a default behind its name",
        ),
        ("a: b\x07", "f:1:5: the character U+0007 must not stand in YAML"),
        ("a: b\r\n\u2028c: \ufeff", "f:3:4: the character U+FEFF must not stand in YAML"),
        (b"a: b\nc: \xe4", "f:2:4: must be UTF-8 text; save the file as UTF-8"),
    ],
)
def test_mistake_tells_where_and_what(text: str | bytes, mistake: str) -> None:
    assert mistakes(text) == [mistake]


def test_tab_is_shown_under_its_line() -> None:
    assert mistakes("server:\n\tport: 80\n") == [
        "f:2:1: a tab must not indent; use blanks\n  |  port: **\n  | ^",
    ]


def test_wrong_indentation_is_shown_under_its_line() -> None:
    (mistake,) = mistakes("server:\n   port: 80\n  host: a\n")

    assert mistake.startswith("f:3:3: not YAML: ")
    assert mistake.endswith("\n  |   host: *\n  |   ^")


def test_open_quote_is_shown_where_it_begins() -> None:
    (mistake,) = mistakes("server:\n  host: 'a\n  port: 80\n")

    assert mistake.startswith("f:2:9: not YAML: ")
    assert mistake.endswith("\n  |   host: '*\n  |         ^")


def test_mistakes_before_a_syntax_error_are_told_too() -> None:
    assert [mistake[:5] for mistake in mistakes("a: 1\na: 2\nb: ]")] == ["f:2:1", "f:3:4"]


def test_escape_that_names_no_character_is_a_mistake() -> None:
    assert len(mistakes('a: "\\UFFFFFFFF"')) == 1


def test_depth_is_bounded() -> None:
    nested = MAX_DEPTH - 1
    assert mistakes(f"a: {'[' * nested}{']' * nested}") == []
    assert "must not nest deeper than 32 levels" in mistakes(f"a: {'[' * 40_000}")[0]


def test_depth_is_bounded_through_aliases() -> None:
    text = "a0: &a0 [x]\n" + "".join(f"a{i}: &a{i} [*a{i - 1}]\n" for i in range(1, 40))

    assert "must not nest deeper than 32 levels" in mistakes(text)[0]


@pytest.mark.parametrize(
    "bomb",
    [
        "a0: &a0 [x, x, x]\n" + "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10)}]\n" for i in range(1, 12)),
        "a: &a {" + ", ".join(f"k{i}: x" for i in range(1000)) + "}\nb: {<<: [" + ", ".join(["*a"] * 2000) + "]}\n",
    ],
    ids=["nested", "merged"],
)
def test_alias_bomb_is_bounded(bomb: str) -> None:
    started = time.process_time()

    assert "must not hold more than 1000000 values" in mistakes(bomb)[0]
    assert time.process_time() - started < 5


def test_size_is_bounded() -> None:
    assert mistakes(b"#" * MAX_SIZE) == []
    assert mistakes(b"#" * (MAX_SIZE + 1)) == [f"f: must be at most {MAX_SIZE} bytes"]
