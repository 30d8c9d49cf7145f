"""A group that knows its commands by name: each is imported when it is called, and none for the group's own help."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import click


class Listed(NamedTuple):
    """A command that has not been imported."""

    module: str
    name: str
    """Of the command in its module."""
    summary: str
    """What its own help begins with."""

    def load(self) -> click.Command:
        """Import it."""
        command = getattr(importlib.import_module(self.module), self.name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command


class ListedCommands(click.Group):
    """A group of listed commands."""

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
        """Write what click would have written of the commands themselves."""
        room = formatter.width - 6 - max(map(len, self.listed))
        rows = [
            (name, click.Command(name, help=self.listed[name].summary).get_short_help_str(room))
            for name in self.list_commands(context)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)
