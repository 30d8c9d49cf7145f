"""``pgsched dev``: everything on this machine, for a first look."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from pgsched.cli.narrator import Narrator
from pgsched.cli.options import program_option
from pgsched.cli.output import count, say
from pgsched.cli.session import Session, server
from pgsched.cli.web import MISSING, is_installed
from pgsched.db.dsn import EMBEDDED
from pgsched.db.migrate import migrate, program_version
from pgsched.domain.errors import ConfigError
from pgsched.domain.settings import WorkerSettings
from pgsched.observability import logs

DEMO_APP = "pgsched.demo:app"
HOST = "127.0.0.1"
METRICS_PORT, WEB_PORT = 9464, 8080


@click.command()
@program_option("--app", metavar="MODULE:APP", help=f"The handlers.  [default: {DEMO_APP}]")
@click.option("--demo", is_flag=True, help="Schedule some tasks and tell what happens to them.")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    default="./.pgsched",
    show_default=True,
    help="Where the embedded PostgreSQL keeps its data.",
)
@program_option(
    "--metrics-port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help=f"Serve /metrics on this port; 0 takes a free one.  [default: {METRICS_PORT}, or a free one]",
)
@program_option(
    "--web-port",
    metavar="N",
    type=click.IntRange(0, 65535),
    help=f"Serve the dashboard on this port; 0 takes a free one.  [default: {WEB_PORT}, or a free one]",
)
@click.option("--for", "seconds", metavar="SECONDS", type=click.FloatRange(min=0), help="End after so long.")
@click.pass_context
def dev(
    context: click.Context,
    app: str | None,
    demo: bool,
    folder: str,
    metrics_port: int | None,
    web_port: int | None,
    seconds: float | None,
) -> None:
    """Start an embedded PostgreSQL, migrate it, run a worker and serve the dashboard, until Ctrl-C.

    With --dsn the database is yours and no PostgreSQL is started. PGSCHED_DSN and libpq's PG* variables are of other
    programs: they are not read.
    """
    if demo and app is not None:
        if context.get_parameter_source("app") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--demo runs its own handlers: leave --app out.", context)
        app = None  # from the environment
    session: Session = context.obj
    # For people, wherever it goes. The demonstration tells what happens; the log adds what goes wrong.
    level = session.level or ("warning" if demo else "info")
    logs.configure(level, json=False)
    with ExitStack() as stack:
        stack.enter_context(_ended_by_sigterm())
        given = (session.given_dsn if session.dsn_on_line else None) or EMBEDDED + folder
        dsn = stack.enter_context(_database(given))
        os.environ["PGSCHED_DSN"] = dsn  # for handlers that schedule tasks: theirs is the database that they run on
        say(f"worker:     runs the handlers of {app or DEMO_APP}; Ctrl-C ends it")
        stack.enter_context(_dashboard(dsn, web_port))
        port = _metrics_port(metrics_port)
        instead = _instead(port, METRICS_PORT) if metrics_port is None else ""
        say(f"metrics:    http://{HOST}:{port}/metrics{instead}")
        if demo:
            stack.enter_context(Narrator(dsn, psql=_psql(given, dsn)))
        if seconds is not None:
            stack.enter_context(_end_after(seconds))
        from pgsched.execution.process_exit import exit_soon  # only here: the other commands start without it
        from pgsched.worker.supervisor import run_worker

        code = run_worker(
            dsn=dsn,
            app_path=app or DEMO_APP,
            settings=WorkerSettings(),
            processes=1,
            metrics_host=HOST,
            metrics_port=port,
            log_level=level,
        )
    if code == 0:
        say("ended in order; the data is kept")
    exit_soon(code)
    context.exit(code)


@contextmanager
def _database(dsn: str) -> Iterator[str]:
    """The database, started and migrated, and a line on each."""
    with server(dsn) as found:
        if dsn.startswith(EMBEDDED):
            say(f"PostgreSQL: runs on the data in {dsn.removeprefix(EMBEDDED)}")
        applied = migrate(found)
        done = f"{count(len(applied), 'migration')} applied" if applied else "up to date"
        say(f"schema:     {done} (version {program_version()})")
        yield found


@contextmanager
def _dashboard(dsn: str, port: int | None) -> Iterator[None]:
    """The dashboard, on a free port when the usual one is taken, and a line on where it is."""
    if not is_installed():
        say(f"dashboard:  {MISSING}")
        yield
        return
    from pgsched.web.server import serving  # only here: the other commands start without it
    from pgsched.web.settings import WebSettings

    with ExitStack() as stack:
        try:
            url = stack.enter_context(serving(dsn=dsn, settings=WebSettings(port=WEB_PORT if port is None else port)))
        except ConfigError:
            if port is not None:
                raise
            url = stack.enter_context(serving(dsn=dsn, settings=WebSettings(port=0)))
        say(f"dashboard:  {url}" + (_instead(urlsplit(url).port, WEB_PORT) if port is None else ""))
        yield


def _metrics_port(port: int | None) -> int:
    """The port that was asked for; a free one when none was and the usual one is taken."""
    from pgsched.worker.control_server import bindable_port  # only here: the other commands start without it

    try:
        return bindable_port(HOST, METRICS_PORT if port is None else port)
    except ConfigError:
        if port is not None:
            raise
        return bindable_port(HOST, 0)


def _instead(port: int | None, usual: int) -> str:
    return "" if port == usual else f" (port {usual} is taken)"


def _psql(given: str, dsn: str) -> str:
    """The command line of psql. A DSN of yours is not repeated: it may hold a password."""
    if not given.startswith(EMBEDDED):
        return "psql 'the DSN that you gave'"
    from pgsched.db.embedded import packaged_binaries  # not on Windows

    program = "psql" if shutil.which("psql") else str(packaged_binaries() / "psql")
    return f"{shlex.quote(program)} {shlex.quote(dsn)}"


@contextmanager
def _end_after(seconds: float) -> Iterator[None]:
    """Send this process SIGTERM when the time is over: the worker then ends as it always does."""
    timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Leave in order on a SIGTERM that comes while the worker is not there to take it."""

    def leave(_number: int, _frame: object) -> None:
        raise SystemExit(0)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
