"""The ``pgsched`` command: one noun per module, one line per error, a documented exit code."""

from __future__ import annotations

import contextlib
import importlib
import io
import sys
import warnings
from collections.abc import Sequence
from typing import Any

import click
from click.core import ParameterSource

from pgsched import __version__
from pgsched.cli.errors import report
from pgsched.cli.options import Dsn, program_option
from pgsched.cli.output import say
from pgsched.cli.session import DEFAULT_LEVEL, Session
from pgsched.domain.errors import UnknownTaskType
from pgsched.observability import logs

__all__ = ["main"]

COMMANDS = {
    "alerts": "Print recording rules and alerts for Prometheus; the options are thresholds.",
    "bench": "Measure the server: inserts, workers, pick-up, WAL, disk.",
    "calendar": "List, set and delete calendars: days that cron expressions leave out, as except=@holidays.",
    "check": "Name waiting tasks that an app's handlers could not run, before it is deployed.",
    "dead": "List, retry and purge the tasks that failed for good.",
    "dev": "Start an embedded PostgreSQL, migrate it, run a worker and serve the dashboard, until Ctrl-C.",
    "doctor": "Diagnose the queue and its database.",
    "errors": "List what attempts failed with, grouped; retry or delete all dead tasks of one error.",
    "events": "Follow task events, until Ctrl-C.",
    "group": "Add groups of steps, and show their progress.",
    "handler": "List and show the types that workers have registered handlers for.",
    "lock": "List locks, run a command while holding one, break one.",
    "migrate": "Upgrade the database's schema to this program's version.",
    "prune": "Delete finished tasks and old history by the settings, which options override for completed tasks, dead "
    "tasks and the history.",
    "queue": "List, pause, resume, limit and configure queues.",
    "schedule": "Sync declared schedules with the table, backfill past ticks, skip and replan.",
    "settings": "Show and change how long finished tasks and the history are kept, unless a queue overrides it.",
    "stats": "Show the number of tasks in each status, every queue, every worker, and due tasks without a handler.",
    "sync": "Register an app's handlers and declared schedules, as its workers do at start.",
    "task": "Add, list, show and change tasks.",
    "top": "Watch queues, workers and running tasks, live.",
    "types": "Show throughput, failures, waits and durations of every task type.",
    "upcoming": "Show when everything will run: a timeline of schedules and of one-time tasks that are due later.",
    "view": "List, set and delete saved views: searches of tasks that have a name, for all who look at the database.",
    "web": "Serve the dashboard and the REST API until SIGTERM or Ctrl-C.",
    "worker": "Run a worker until SIGTERM or Ctrl-C; or list, pause, drain or resume running workers.",
}
"""Every command, which is called as its module, and the first paragraph of its help."""
MODULES = {"errors": "error_groups"}
"""The modules of commands that are called otherwise."""


class LazyGroup(click.Group):
    """Imports a command when it is called, and none of them for the group's own help."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import the command; None when none has this name."""
        if name not in COMMANDS:
            return None
        command = getattr(importlib.import_module(f"pgsched.cli.{MODULES.get(name, name)}"), name)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def format_commands(self, _context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write what click would write if the commands were imported."""
        room = formatter.width - 6 - max(map(len, COMMANDS))
        with formatter.section("Commands"):
            formatter.write_dl(
                [(name, click.Command(name, help=COMMANDS[name]).get_short_help_str(room)) for name in sorted(COMMANDS)]
            )


def _say_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        say(f"pgsched {__version__}")
        context.exit()


@click.group(
    cls=LazyGroup,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options that set up a program are also read from the environment, as PGSCHED_<OPTION>: PGSCHED_DSN.",
)
@program_option(
    "--dsn",
    "dsns",
    multiple=True,
    type=Dsn(),
    help="The database: a libpq URI or embedded:DIR.  [default: libpq's own PG* variables]",
)
@program_option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    help="Log to stderr from this level on, as JSON unless it is a terminal.  [default: info]",
)
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
@click.pass_context
def commands(context: click.Context, dsns: tuple[str, ...], log_level: str | None) -> None:
    """A job queue and scheduler that needs PostgreSQL and nothing else."""
    session: Session = context.obj
    if len(dsns) > 1 and context.invoked_subcommand not in (None, "web"):
        problem = f"--dsn was given {len(dsns)} times: only 'pgsched web' serves several databases"
        raise click.UsageError(problem, context)
    session.given_dsns, session.level = dsns, log_level
    session.dsn_on_line = context.get_parameter_source("dsns") is ParameterSource.COMMANDLINE
    logs.configure(log_level or DEFAULT_LEVEL)


def _show_warning(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
    if issubclass(category, UnknownTaskType):
        click.echo(f"pgsched: {message}", err=True)
    else:
        _warned(message, category, *where, **more)


_warned = warnings.showwarning


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 refused or not found, 2 wrong usage, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")  # the terminal may lack a character that a row contains
    warnings.showwarning = _show_warning
    session = Session()
    given = None if arguments is None else list(arguments)
    try:
        code = commands.main(given, prog_name="pgsched", standalone_mode=False, obj=session)
    except Exception as error:  # noqa: BLE001  (the last resort; click.Abort is one too)
        logs.flush()
        return report(error, debug=session.debug)
    finally:
        logs.flush()
    return code if isinstance(code, int) else 0
