"""A click group that imports a command when it is called, and none of them for the group's own help."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Listed(NamedTuple):
    """A command that is not imported yet."""

    module: str
    name: str
    """The command's name in its module."""
    summary: str
    """The first paragraph of its help."""

    def load(self) -> click.Command:
        """Import it."""
        command = getattr(importlib.import_module(self.module), self.name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command


class ListedCommands(click.Group):
    """A group of commands that are imported on demand."""

    def __init__(self, *arguments: Any, listed: Mapping[str, Listed], **settings: Any) -> None:
        super().__init__(*arguments, **settings)
        self.listed = listed

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return their names."""
        return sorted(self.listed)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import the command; None when none has this name."""
        found = self.listed.get(name)
        return found and found.load()

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what click would write if the commands were imported."""
        room = formatter.width - 6 - max(map(len, self.listed))
        rows = [
            (name, click.Command(name, help=self.listed[name].summary).get_short_help_str(room))
            for name in self.list_commands(context)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
