"""How commands fail: one line on stderr and an exit code."""

from __future__ import annotations

import traceback

import click

from pgsched.domain.errors import ConfigError, PgschedError

DONE = 0
REFUSED = 1
USAGE = 2
INTERRUPTED = 130


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
        say_error(error.format_message() + _where_to_read(error))
        return error.exit_code
    if isinstance(error, PgschedError):
        say_error(error)
        return USAGE if isinstance(error, ConfigError) else REFUSED
    hint = "" if debug else " (the traceback: --log-level debug)"
    say_error(f"internal error: {type(error).__name__}: {error}{hint}")
    return REFUSED


def _where_to_read(error: click.ClickException) -> str:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f" (see {context.command_path} --help)" if context else ""
