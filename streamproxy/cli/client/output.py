"""What the commands write: one JSON document, or lines and tables for people."""

import io
import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

from streamproxy.cli.client.failures import Refused
from streamproxy.cli.client.text import plain

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

_WIDTH_OF_A_PIPE = 10_000
"""Columns of what is no terminal: nothing that another program reads is cut off."""

LEFT, RIGHT, WHOLE = "left", "right", "whole"
"""How a column of a table behaves: texts are cut where the terminal is narrow; numbers and ids are not."""


def show_json(document: object) -> None:
    """Write a document as it is; in ASCII, so that no text in it can do anything to a terminal."""
    click.echo(json.dumps(document, indent=2))


def show_json_line(document: object) -> None:
    """Write a document as one line."""
    click.echo(json.dumps(document, separators=(",", ":")))


def show_line(text: str) -> None:
    """Write a line whose foreign parts have gone through `plain`."""
    _encode_anything()
    click.echo(text)


def show_message(document: object) -> None:
    """Write what the server says it has done."""
    message = plain(document.get("message"), 2000) if isinstance(document, dict) else ""
    show_line(message or "done")


def show_facts(facts: Iterable[tuple[str, str]]) -> None:
    """Write names and values, one pair a line; those without a value are left out."""
    known = [(name, value) for name, value in facts if value]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        show_line(f"{name:<{width}}  {value}")


def show_table(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> None:
    """Write a table; see `table_of`."""
    console().print(table_of(columns, rows))


def tell(text: str) -> None:
    """Tell the person something beside the output; the foreign parts of it have gone through `plain`."""
    click.echo(text, err=True)


def console() -> "Console":
    """Make what writes tables: in colour on a terminal, whatever the environment says of colour elsewhere."""
    from rich.console import Console

    _encode_anything()
    terminal = sys.stdout.isatty()
    width = None if terminal else _WIDTH_OF_A_PIPE
    return Console(file=sys.stdout, force_terminal=terminal, width=width, highlight=False, markup=False, emoji=False)


def table_of(columns: Mapping[str, str], rows: Iterable[Sequence[str]]) -> "Table":
    """Make a table.

    Args:
        columns: Heading → `LEFT`, `RIGHT` or `WHOLE`.
        rows: A text for each column, the foreign ones harmless already.
    """
    from rich import box
    from rich.table import Table
    from rich.text import Text

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for heading, behaviour in columns.items():
        justify: Any = "right" if behaviour == RIGHT else "left"
        table.add_column(heading, justify=justify, no_wrap=behaviour != LEFT)
    for row in rows:
        table.add_row(*(Text(cell, no_wrap=True, overflow="ellipsis") for cell in row))
    return table


def members(document: object, name: str) -> list[dict[str, Any]]:
    """Return the list of objects that an answer holds under a name.

    Raises:
        Refused: It holds none.
    """
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, list):
        raise unexpected(name)
    return [each for each in found if isinstance(each, dict)]


def member(document: object, name: str) -> dict[str, Any]:
    """Return the object that an answer holds under a name.

    Raises:
        Refused: It holds none.
    """
    found = document.get(name) if isinstance(document, dict) else None
    if not isinstance(found, dict):
        raise unexpected(name)
    return found


def unexpected(name: str) -> Refused:
    """Say that an answer lacks what it should hold."""
    return Refused(f"the answer holds no '{name}'; does streamproxy answer at that address?", 200)


def _encode_anything() -> None:
    """Write letters that the terminal does not know as escapes, instead of failing on them."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        with suppress(ValueError, OSError):
            sys.stdout.reconfigure(errors="backslashreplace")
