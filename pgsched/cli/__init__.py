"""The command ``pgsched``. One noun a module; every error is one line, every end an exit code."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import sys
from collections.abc import Sequence

import click
from click.core import ParameterSource

from pgsched import logs
from pgsched.cli.alerts import alerts
from pgsched.cli.bench import bench
from pgsched.cli.calendars import calendar
from pgsched.cli.dead import dead
from pgsched.cli.dev import dev
from pgsched.cli.doctor import doctor
from pgsched.cli.errors import report
from pgsched.cli.events import events, queue_events
from pgsched.cli.groups import group
from pgsched.cli.locks import lock
from pgsched.cli.migrate import migrate
from pgsched.cli.options import program_option
from pgsched.cli.output import say
from pgsched.cli.prune import prune
from pgsched.cli.queues import queue
from pgsched.cli.schedules import schedule
from pgsched.cli.session import DEFAULT_LEVEL, Session
from pgsched.cli.settings import settings
from pgsched.cli.stats import stats
from pgsched.cli.tasks import task
from pgsched.cli.top import top
from pgsched.cli.web import web
from pgsched.cli.worker import worker

__all__ = ["main"]


def _say_version(context: click.Context, _parameter: click.Parameter, asked: bool) -> None:
    if asked:
        try:
            version = importlib.metadata.version("pgsched")
        except importlib.metadata.PackageNotFoundError:
            version = "from a checkout that is not installed"
        say(f"pgsched {version}")
        context.exit()


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="Options that set up a program are also read from the environment, as PGSCHED_<OPTION>: PGSCHED_DSN.",
)
@program_option("--dsn", help="The database: a libpq URI or embedded:DIR.  [default: libpq's own PG* variables]")
@program_option(
    "--log-level",
    type=click.Choice(logs.LEVELS),
    help="Log to stderr from this level on, as JSON unless it is a terminal.  [default: info]",
)
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Print the version.",
)
@click.pass_context
def commands(context: click.Context, dsn: str | None, log_level: str | None) -> None:
    """A job queue and scheduler that needs PostgreSQL and nothing else."""
    session: Session = context.obj
    session.given_dsn, session.level = dsn, log_level
    session.dsn_on_line = context.get_parameter_source("dsn") is ParameterSource.COMMANDLINE
    logs.configure(log_level or DEFAULT_LEVEL)


for command in (
    migrate,
    worker,
    web,
    dev,
    task,
    group,
    schedule,
    calendar,
    dead,
    queue,
    lock,
    stats,
    top,
    doctor,
    alerts,
    prune,
    settings,
    events,
    bench,
):
    commands.add_command(command)
queue.add_command(queue_events)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code: 0 done, 1 refused or not found, 2 wrong usage, 130 Ctrl-C."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            with contextlib.suppress(io.UnsupportedOperation):
                stream.reconfigure(errors="backslashreplace")  # a terminal may lack a letter that a row has
    session = Session()
    try:
        code = commands.main(
            None if arguments is None else list(arguments),
            prog_name="pgsched",
            standalone_mode=False,
            obj=session,
        )
    except Exception as error:  # noqa: BLE001  (the last resort; click.Abort is one too)
        logs.flush()
        return report(error, debug=session.debug)
    finally:
        logs.flush()
    return code if isinstance(code, int) else 0
