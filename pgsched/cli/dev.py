"""``pgsched dev``: PostgreSQL, a worker and the dashboard on this machine, for development."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import NoReturn
from urllib.parse import urlsplit

import click
from click.core import ParameterSource

from pgsched.cli.database import run_or_ask
from pgsched.cli.options import PORT, program_option
from pgsched.cli.output import count, say
from pgsched.cli.session import Session, handling, server
from pgsched.cli.web import MISSING, is_installed
from pgsched.client.client import Client
from pgsched.db.dsn import EMBEDDED
from pgsched.db.migrations.runner import migrate, program_version
from pgsched.demo import schedule_demonstration
from pgsched.domain.errors import ConfigError, PgschedError
from pgsched.domain.settings import WorkerSettings
from pgsched.observability import logs

DEMO_APP = "pgsched.demo:app"
HOST = "127.0.0.1"
METRICS_PORT, WEB_PORT = 9464, 8080
TRY_IT = """
Schedule one yourself, from psql or from any program that can insert a row:

  {psql} \\
    -c "insert into pgsched.tasks (task_type, payload) values ('greet', '{{\\"name\\": \\"psql\\"}}')"

What happens now:
"""


@click.command()
@program_option("--app", metavar="MODULE:APP", help=f"The handlers.  [default: {DEMO_APP}]")
@click.option("--demo", is_flag=True, help="Schedule example tasks and describe what happens to them.")
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
    type=PORT,
    help=f"Serve /metrics on this port; 0: any free port.  [default: {METRICS_PORT}, or a free one]",
)
@program_option(
    "--web-port",
    metavar="N",
    type=PORT,
    help=f"Serve the dashboard on this port; 0: any free port.  [default: {WEB_PORT}, or a free one]",
)
@click.option("--for", "seconds", metavar="SECONDS", type=click.FloatRange(min=0), help="Stop after this many seconds.")
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
    """Run PostgreSQL, a worker and the dashboard for development.

    Starts a PostgreSQL, migrates it, runs a worker and serves the dashboard until Ctrl-C. The PostgreSQL is that of the
    extra `embedded`, or else the newest one installed on this machine. With --dsn it uses that database and starts no
    PostgreSQL. It ignores PGSCHED_DSN and libpq's PG* variables, which may point to another database.
    """
    if demo and app is not None:
        if context.get_parameter_source("app") is ParameterSource.COMMANDLINE:
            raise click.UsageError("--demo runs its own handlers: leave out --app.", context)
        app = None  # from the environment
    session: Session = context.obj
    # Human-readable even when redirected. The demonstration prints what happens; the log adds problems only.
    level = session.level or ("warning" if demo else "info")
    logs.configure(level, json=False)
    with ExitStack() as stack:
        stack.enter_context(handling(_leave, signal.SIGTERM))  # while no worker handles it
        given = (session.given_dsn if session.dsn_on_line else None) or EMBEDDED + folder
        dsn = stack.enter_context(_database(given))
        os.environ["PGSCHED_DSN"] = dsn  # handlers that schedule tasks use the database they run on
        say(f"worker:     runs the handlers of {app or DEMO_APP}; Ctrl-C stops it")
        stack.enter_context(_dashboard(dsn, web_port))
        port = _metrics_port(metrics_port)
        instead = _instead(port, METRICS_PORT) if metrics_port is None else ""
        say(f"metrics:    http://{HOST}:{port}/metrics{instead}")
        if demo:
            stack.enter_context(_narrated(dsn, psql=_psql(given, dsn)))
        if seconds is not None:
            # The worker then shuts down as usual.
            timer = threading.Timer(seconds, os.kill, (os.getpid(), signal.SIGTERM))
            timer.daemon = True
            timer.start()
            stack.callback(timer.cancel)
        from pgsched.execution.process import exit_soon  # imported late: the other commands do not need it
        from pgsched.worker.supervisor import run_worker

        run = partial(
            run_worker,
            dsn=dsn,
            app_path=app or DEMO_APP,
            settings=WorkerSettings(),
            processes=1,
            metrics_host=HOST,
            metrics_port=port,
            log_level=level,
        )
        code = run_or_ask(dsn, run)
    if code == 0:
        say("stopped; the data is kept")
    exit_soon(code)
    context.exit(code)


@contextmanager
def _database(dsn: str) -> Iterator[str]:
    """Start and migrate the database, printing one line for each step."""
    with server(dsn) as found:
        if dsn.startswith(EMBEDDED):
            say(f"PostgreSQL: runs on the data in {dsn.removeprefix(EMBEDDED)}")
        applied = migrate(found)
        done = f"{count(len(applied), 'migration')} applied" if applied else "up to date"
        say(f"schema:     {done} (version {program_version()})")
        yield found


@contextmanager
def _dashboard(dsn: str, port: int | None) -> Iterator[None]:
    """Serve the dashboard, on a free port if the default one is taken, and print its address."""
    if not is_installed():
        say(f"dashboard:  {MISSING}")
        yield
        return
    from pgsched.web.server import serving  # imported late: the other commands do not need it
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
    """The requested port; without a request the default one, or a free one if that is taken."""
    from pgsched.worker.http_server import bindable_port  # imported late: the other commands do not need it

    try:
        return bindable_port(HOST, METRICS_PORT if port is None else port)
    except ConfigError:
        if port is not None:
            raise
        return bindable_port(HOST, 0)


def _instead(port: int | None, usual: int) -> str:
    return "" if port == usual else f" (port {usual} is taken)"


def _psql(given: str, dsn: str) -> str:
    """The psql command line. A DSN given by the user is not printed: it may contain a password."""
    if not given.startswith(EMBEDDED):
        return "psql 'YOUR DSN'"
    from pgsched.db.embedded.programs import server_programs  # imported late: only this needs it

    data = Path(given.removeprefix(EMBEDDED)) / "data"
    program = "psql" if shutil.which("psql") else str(server_programs(data) / "psql")
    return f"{shlex.quote(program)} {shlex.quote(dsn)}"


def _leave(_number: int, _frame: object) -> NoReturn:
    raise SystemExit(0)


@contextmanager
def _narrated(dsn: str, *, psql: str) -> Iterator[None]:
    """Schedule the demonstration, print what to try, and announce the first completed task."""
    over = threading.Event()
    began = time.monotonic()
    with Client(dsn) as client:
        tasks = schedule_demonstration(client)
        say("\nScheduled, each as one row of the table pgsched.tasks:\n")
        for task in tasks:
            say(f"  task {task.id:<4} {task.task_type:<7} {task.plan}")
        say(TRY_IT.format(psql=psql))
        watch = threading.Thread(target=_announce, args=(client, tasks[0].id, began, over), daemon=True)
        watch.start()
        try:
            yield
        finally:
            over.set()
            watch.join()


def _announce(client: Client, task_id: int, began: float, over: threading.Event) -> None:
    while not over.wait(0.1):
        try:
            done = client.get(task_id).status == "completed"
        except PgschedError:  # the worker reports what is wrong with the database
            return
        if done:
            say(f"          first task done, {time.monotonic() - began:.1f} s after it was scheduled")
            return
