"""Former names of commands: they work until the next minor version, and name the command to use."""

from __future__ import annotations

import copy
import functools
from typing import Any

import click

from pgsched.cli.errors import say_error


def former(command: click.Command, name: str, *, now: str) -> click.Command:
    """Return a command under its former name: hidden from help, and with a line on stderr when it is run."""
    same = copy.copy(command)
    callback = command.callback
    assert callback is not None  # noqa: S101 - a command without a callback does nothing

    @functools.wraps(callback)
    def run(*arguments: Any, **given: Any) -> Any:
        say_deprecated(name, now)
        return callback(*arguments, **given)

    same.hidden, same.callback = True, run
    return same


def say_deprecated(name: str, now: str) -> None:
    """Say on stderr what to use instead of a former name."""
    say_error(f"'{name}' is deprecated: use '{now}'")
