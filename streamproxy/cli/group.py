"""The group of all commands: each is imported when it is used, so that a short command starts fast."""

from collections.abc import Mapping
from importlib import import_module
from typing import Any

import click

Sections = Mapping[str, Mapping[str, str]]
"""Heading in the help → name of a command → where it is, as `module:attribute`."""


class Commands(click.Group):
    """Commands in sections; one of them may be left out: `streamproxy -c FILE` means `streamproxy serve -c FILE`."""

    def __init__(self, *args: Any, sections: Sections, default: str, **more: Any) -> None:
        """Prepare.

        Args:
            args: Those of a group.
            sections: The commands.
            default: The one meant where none is named.
            more: Those of a group.
        """
        super().__init__(*args, **more)
        self._sections = sections
        self._default = default

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the default command in front of options that are not the group's own."""
        own = {"--help", "-h", "--version"}
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = [self._default, *args]
        return super().parse_args(ctx, args)

    def list_commands(self, ctx: click.Context) -> list[str]:
        """List their names, in the order of the sections."""
        del ctx
        return [name for section in self._sections.values() for name in section]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import a command."""
        del ctx
        for section in self._sections.values():
            if place := section.get(cmd_name):
                module, _, attribute = place.partition(":")
                command = getattr(import_module(module), attribute)
                assert isinstance(command, click.Command)
                return command
        return None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write each section under its heading."""
        names = self.list_commands(ctx)
        limit = formatter.width - 6 - max(map(len, names))
        for heading, section in self._sections.items():
            commands = [(name, self.get_command(ctx, name)) for name in section]
            with formatter.section(heading):
                formatter.write_dl([(name, each.get_short_help_str(limit)) for name, each in commands if each])
