"""The ``pgsched`` command: one noun per module, one line per error, a documented exit code."""

from __future__ import annotations

import contextlib
import importlib
import io
import os
import sys
import warnings
from collections.abc import Sequence
from datetime import tzinfo
from typing import Any

import click
from click.core import ParameterSource
from click.shell_completion import CompletionItem

from pgsched import __version__
from pgsched.cli.errors import report
from pgsched.cli.former import say_deprecated
from pgsched.cli.options import Dsn, program_option
from pgsched.cli.output import say
from pgsched.cli.session import DEFAULT_LEVEL, Session
from pgsched.cli.times import LOCAL, read_zone
from pgsched.domain.errors import UnknownTaskType
from pgsched.observability import logs

__all__ = ["main"]

COMMANDS = {
    "alerts": "Print alerting rules for Prometheus.",
    "audit": "List changes made through the dashboard and the REST API.",
    "bench": "Measure the server: inserts, workers, pick-up, WAL, disk.",
    "calendar": "Manage calendars: sets of days that cron expressions exclude.",
    "check": "Find waiting tasks that an app's handlers could not run.",
    "completion": "Print the completion script of a shell.",
    "database": "Show whether the tasks belong to this database; adopt a copy, hold workers back.",
    "dead": "List, retry and purge dead tasks, which failed for good.",
    "dev": "Run PostgreSQL, a worker and the dashboard for development.",
    "doctor": "Diagnose the queue and its database.",
    "error": "List errors in groups; retry or delete their dead tasks.",
    "event": "Follow the events of tasks.",
    "execution": "List executions: the attempts at tasks.",
    "generate": "Write a typed client for another language.",
    "group": "Add, list and show groups: tasks that consist of steps.",
    "handler": "List and show the task types that workers have handlers for.",
    "init": "Write a small project to begin with.",
    "lock": "List locks, run a command while holding one, break one.",
    "mcp": "Serve tools for agents by the Model Context Protocol.",
    "migrate": "Upgrade the database's schema to this program's version.",
    "prune": "Delete finished tasks and old history.",
    "queue": "List, show, pause, limit and configure queues.",
    "schedule": "List, show and change schedules; run past ticks.",
    "settings": "Show and change how long tasks and the history are kept.",
    "shard": "Make databases the shards of one system, and move tenants between them.",
    "stats": "Show the numbers of tasks, queues and workers.",
    "sync": "Register an app's handlers and declared schedules.",
    "task": "Add, list, show and change tasks.",
    "top": "Watch queues, workers and running tasks, live.",
    "type": "List throughput, failures and durations of task types.",
    "upcoming": "Show a timeline of the tasks that will run.",
    "view": "Manage saved views: named searches of tasks.",
    "web": "Serve the dashboard and the REST API.",
    "worker": "Run a worker; list, show, pause, drain and resume workers.",
}
"""Every command, which has the name of its module, and the first sentence of its help."""
PLACES = {
    "error": "error_groups:error",
    "type": "types:type_",
}
"""Where the commands are whose module or function has another name, as ``module:function``."""
RENAMED = {"errors": ("error",), "events": ("event", "follow"), "types": ("type", "list")}
"""Former names of commands, which work until the next minor version."""


class LazyGroup(click.Group):
    """Imports a command when it is called, and none of them for the group's own help."""

    def list_commands(self, _context: click.Context) -> list[str]:
        """Return their names."""
        return sorted(COMMANDS)

    def get_command(self, _context: click.Context, name: str) -> click.Command | None:
        """Import the command; None when none has this name."""
        if name not in COMMANDS:
            return None
        module, _, function = PLACES.get(name, f"{name}:{name}").partition(":")
        command = getattr(importlib.import_module(f"pgsched.cli.{module}"), function)
        assert isinstance(command, click.Command)  # noqa: S101
        return command

    def resolve_command(
        self, context: click.Context, words: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find the command that the first words name, also by its former name."""
        if now := RENAMED.get(words[0]):
            if not context.resilient_parsing:
                say_deprecated(f"pgsched {words[0]}", f"pgsched {' '.join(now)}")
            words = [*now, *words[1:]]
        return super().resolve_command(context, words)

    def shell_complete(self, context: click.Context, incomplete: str) -> list[CompletionItem]:
        """Offer the commands, without importing them, and the options."""
        names = [name for name in self.list_commands(context) if name.startswith(incomplete)]
        commands = [
            CompletionItem(name, help=click.Command(name, help=COMMANDS[name]).get_short_help_str()) for name in names
        ]
        return [*commands, *click.Command.shell_complete(self, context, incomplete)]

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
    help="The database: a libpq URI or embedded:DIR; several as NAME=DSN.  [default: libpq's own PG* variables]",
)
@click.option("--shard", metavar="NAME", help="The one of several databases that the command is for.")
@program_option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    help="Log to stderr from this level on, as JSON unless it is a terminal.  [default: info]",
)
@program_option(
    "--tz",
    "zone",
    metavar="ZONE",
    default="UTC",
    callback=read_zone,
    help=f"Show times in this IANA time zone, or in {LOCAL!r}: that of this machine.  [default: UTC]",
)
@click.option("--no-color", is_flag=True, help="Print no colours. NO_COLOR in the environment means the same.")
@click.option("--quiet", "-q", is_flag=True, help="Print only data and errors, not what was changed.")
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_say_version, help="Print the version."
)
@click.pass_context
def commands(
    context: click.Context,
    dsns: tuple[str, ...],
    shard: str | None,
    log_level: str | None,
    zone: tzinfo | None,
    no_color: bool,
    quiet: bool,
) -> None:
    """A job queue and scheduler that needs PostgreSQL and nothing else."""
    session: Session = context.obj
    session.given_dsns, session.shard, session.level = dsns, shard, log_level
    session.dsn_on_line = context.get_parameter_source("dsns") is ParameterSource.COMMANDLINE
    session.zone, session.quiet = zone, quiet
    if no_color:
        os.environ["NO_COLOR"] = "1"  # also for logs, pgsched top and processes that a command starts
    if os.environ.get("NO_COLOR"):
        context.color = False
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
