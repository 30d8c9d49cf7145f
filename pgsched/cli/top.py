"""``pgsched top``: queues, workers and running tasks, live."""

from __future__ import annotations

import importlib.util
import shutil
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from time import monotonic

import click

from pgsched.cli.options import output_option
from pgsched.cli.output import JSON, TABLE, say, say_json
from pgsched.cli.session import Session, server
from pgsched.db.database import Database
from pgsched.db.dsn import describe_dsn
from pgsched.domain.errors import ConfigError, PgschedError
from pgsched.ops.activity import Activity, read_activity

MISSING = "pgsched top needs rich: pip install 'pgsched[top]'"
PLAIN_WIDTH = 120
"""Width of the output if stdout is not a terminal."""


@click.command()
@click.option(
    "--interval",
    type=click.FloatRange(0.2, 3600),
    default=2.0,
    show_default=True,
    metavar="SECONDS",
    help="Time between updates.",
)
@click.option("--once", is_flag=True, help="Print one snapshot and exit; the default if stdout is not a terminal.")
@output_option(TABLE, JSON)
@click.pass_context
def top(context: click.Context, interval: float, once: bool, output: str) -> None:
    """Watch queues, workers and running tasks, live. Press ? for help, q to quit.

    --output json prints one snapshot, for programs.
    """
    if output != JSON and importlib.util.find_spec("rich") is None:
        raise ConfigError(MISSING)
    session: Session = context.obj
    with server(session.dsn) as dsn:
        database = Database(dsn=dsn, pool_size=1)
        try:
            first = read_activity(database)
            if output == JSON:
                say_json(first.as_dict())
            elif once or not (sys.stdout.isatty() and sys.stdin.isatty()):
                _say(first, describe_dsn(dsn))
            else:
                context.exit(_watch(database, first, describe_dsn(dsn), interval))
        finally:
            database.close()


class Looker:
    """Polls the database in a thread, so that a slow or dead one does not block the keyboard."""

    def __init__(self, database: Database, first: Activity, interval: float, tell: Callable[[], None]) -> None:
        self._database = database
        self._interval = interval
        self._tell = tell
        self._stop = threading.Event()
        self.seen: tuple[Activity, str | None] = (first, None)
        """The last successful poll, and the error of the one after it."""

    def start(self) -> None:
        """Start polling."""
        threading.Thread(target=self._run, name="pgsched-top", daemon=True).start()

    def stop(self) -> None:
        """Stop polling, without waiting for a poll in progress."""
        self._stop.set()

    def _run(self) -> None:
        next_at = monotonic() + min(self._interval, 1.0)
        while not self._stop.wait(max(next_at - monotonic(), 0.05)):
            next_at = monotonic() + self._interval
            last, _ = self.seen
            try:
                self.seen = (read_activity(self._database, last), None)
            except PgschedError as error:
                self.seen = (last, " ".join(str(error).split()))
            self._tell()


def _watch(database: Database, first: Activity, place: str, interval: float) -> int:
    from pgsched.cli.top_state import press, within
    from pgsched.cli.top_terminal import Terminal
    from pgsched.cli.top_view import Screen, draw, rows_in

    terminal = Terminal()
    looker = Looker(database, first, interval, terminal.wake)
    screen = Screen(activity=first, place=place, interval=interval)
    with terminal.taken():
        looker.start()
        try:
            while terminal.ended_by is None:
                activity, error = looker.seen
                if not screen.view.paused:
                    screen = replace(screen, activity=activity)
                columns, lines = terminal.size()
                view = within(screen.view, rows_in(screen.activity))
                screen = replace(screen, view=view, error=error, width=columns, height=lines)
                terminal.show(draw(screen))
                for key in terminal.wait(interval):
                    pressed = press(screen.view, key)
                    if pressed is None:
                        return 0
                    screen = replace(screen, view=pressed)
        finally:
            looker.stop()
    return 128 + terminal.ended_by


def _say(activity: Activity, place: str) -> None:
    from rich.console import Console

    from pgsched.cli.top_view import Screen, draw

    width = shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns
    console = Console(width=width, force_terminal=False, no_color=True, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(draw(Screen(activity=activity, place=place, width=width, height=None)))
    say("\n".join(line.rstrip() for line in captured.get().rstrip("\n").split("\n")))
