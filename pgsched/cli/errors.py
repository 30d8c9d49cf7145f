"""How commands fail: one line on stderr and an exit code."""

from __future__ import annotations

import errno
import re
import traceback
from typing import Final

import click

from pgsched.cli.names import did_you_mean
from pgsched.domain.errors import ConfigError, PgschedError

DONE = 0
REFUSED = 1
USAGE = 2
INTERRUPTED = 130
_NO_ROOM: Final = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS)
"""Errors of a disk that is full or read-only."""
_NO_COMMAND: Final = re.compile(r"No such command '(.*)'\.", re.DOTALL)
_NO_CHOICE: Final = re.compile(r"'(.*)' is not (?:one of )?'", re.DOTALL)


def say_error(message: object) -> None:
    """Write ``pgsched: message`` to stderr, on one line even if the message has several."""
    click.echo(f"pgsched: {' '.join(str(message).split())}", err=True)


def report(error: BaseException, *, debug: bool) -> int:
    """Print what went wrong and return the exit code; with ``debug`` the traceback comes first."""
    if isinstance(error, click.Abort):
        # click turns both Ctrl-C and end of input into an Abort.
        if isinstance(error.__context__, KeyboardInterrupt):
            return INTERRUPTED
        say_error("aborted")
        return REFUSED
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        error.show()
        return USAGE
    if debug:
        click.echo("".join(traceback.format_exception(error)), err=True, nl=False)
    if isinstance(error, click.ClickException):
        say_error(_of_program(error) or _message(error) + _where_to_read(error))
        return error.exit_code
    if isinstance(error, PgschedError):
        say_error(error)
        return USAGE if isinstance(error, ConfigError) else REFUSED
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        say_error(f"{error.filename or 'the output'} cannot be written: {error.strerror}")
        return REFUSED
    hint = "" if debug else " (the traceback: --log-level debug)"
    say_error(f"internal error: {type(error).__name__}: {error}{hint}")
    return REFUSED


def _of_program(error: click.ClickException) -> str | None:
    """Return the message for an option of the program itself that was given after a command; None for other errors."""
    if not isinstance(error, click.NoSuchOption) or error.ctx is None:
        return None
    root = error.ctx.find_root()
    for one in root.command.params:
        if error.option_name in one.opts and error.ctx is not root and isinstance(one, click.Option):
            value = "" if one.is_flag else f" {one.metavar or one.opts[0].rpartition('-')[2].upper()}"
            command = error.ctx.command_path.removeprefix(f"{root.command_path} ")
            place = f"{root.command_path} {one.opts[0]}{value} {command}"
            return f"{one.opts[0]} is an option of {root.command_path} itself and goes before the command: {place} …"
    return None


def _message(error: click.ClickException) -> str:
    """Return the message of click, with the nearest name to one that does not exist."""
    context = error.ctx if isinstance(error, click.UsageError) else None
    if context is None:
        return error.format_message()
    if isinstance(error, click.NoSuchOption):
        names = [name for one in context.command.params if _is_visible(one) for name in one.opts + one.secondary_opts]
        return error.message + did_you_mean(error.option_name, names)
    if isinstance(context.command, click.Group) and (found := _NO_COMMAND.match(error.message)):
        return found[0] + did_you_mean(found[1], context.command.list_commands(context))
    kind = error.param.type if isinstance(error, click.BadParameter) and error.param is not None else None
    if isinstance(kind, click.Choice) and (found := _NO_CHOICE.match(error.message)):
        return error.format_message() + did_you_mean(found[1], map(str, kind.choices))
    return error.format_message()


def _is_visible(parameter: click.Parameter) -> bool:
    return isinstance(parameter, click.Option) and not parameter.hidden


def _where_to_read(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see {context.command_path} --help)" if context else ""
