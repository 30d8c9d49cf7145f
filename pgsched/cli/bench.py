"""``pgsched bench``: measures how fast a server is."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any, NoReturn

import click

from pgsched.bench.measure import Bench, Plan
from pgsched.bench.report import MILLION, Report, hints
from pgsched.cli.errors import say_error
from pgsched.cli.options import PROCESSES, confirm, json_option, yes_option
from pgsched.cli.output import JSON, TABLE, fields, say, say_record
from pgsched.cli.session import Session, handling, server
from pgsched.db.queries.bench import Surroundings
from pgsched.domain.errors import PgschedError

DEFAULTS = Plan()
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


@click.command(context_settings={"show_default": True})
@click.option(
    "--tasks",
    metavar="N",
    type=click.IntRange(10, 10_000_000),
    default=DEFAULTS.tasks,
    help="Number of tasks to insert and drain.",
)
@click.option(
    "--seconds",
    metavar="S",
    type=click.FloatRange(0.1, 3600),
    default=DEFAULTS.seconds,
    help="Maximum time to measure single inserts, and the same for pick-ups.",
)
@click.option(
    "--processes", metavar="N", type=PROCESSES, default=DEFAULTS.processes, help="Number of worker processes."
)
@click.option(
    "--concurrency",
    metavar="N",
    type=click.IntRange(1, 10_000),
    default=DEFAULTS.concurrency,
    help="Maximum number of tasks that run at once in each process.",
)
@json_option
@yes_option
@click.pass_obj
def bench(session: Session, /, as_json: bool, yes: bool, **given: Any) -> None:
    """Measure the server: inserts, workers, pick-up, WAL, disk.

    It uses its own queue and task types, so no other worker takes part, and deletes everything at the end, also after
    Ctrl-C. It fails if another session changes that data in the meantime.
    """
    plan = Plan(**given)
    with server(session.dsn) as dsn:
        measuring = Bench(dsn, plan, lambda text: click.echo(f"{text} …", err=True))
        _ask(measuring.look_around(), plan.tasks, yes=yes)
        with handling(_interrupt, *INTERRUPTS):
            try:
                report = measuring.run()
            finally:
                _clean(measuring)
    say_record(report, _show, output=JSON if as_json else TABLE)


def _interrupt(_number: int, _frame: FrameType | None) -> NoReturn:
    """Let the first signal be a KeyboardInterrupt; later ones are ignored until the process ends."""
    for number in INTERRUPTS:
        signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def _clean(measuring: Bench) -> None:
    try:
        click.echo(f"deleted {measuring.clean():,} tasks of the queue {measuring.queue}", err=True)
    except PgschedError as error:
        say_error(f"the rows of the queue {measuring.queue} could not be deleted and remain: {error}")
        raise


def _ask(found: Surroundings, tasks: int, *, yes: bool) -> None:
    """Ask before loading a server that is in use."""
    used = [
        text
        for number, text in (
            (found.workers, f"{found.workers} workers live"),
            (found.due, f"{'at least ' if found.due == 1000 else ''}{found.due:,} tasks are due"),
            (found.active, f"{found.active} other sessions are active"),
        )
        if number
    ]
    if not used or yes:
        return
    warning = f"The server is in use: {', '.join(used)}. {tasks:,} more tasks will slow it down"
    confirm(f"{warning}. Measure it anyway?", yes=False)


def _show(report: Report) -> None:
    say(
        fields(
            [
                ("PostgreSQL", report.version),
                *report.settings.items(),
                ("", ""),
                ("round trip", f"{report.round_trip_p50:.2f} ms, 99 % below {report.round_trip_p99:.2f} ms"),
                ("single inserts", f"{report.single_per_second:,.0f} a second on one connection"),
                ("schedule_many", f"{report.bulk_per_second:,.0f} rows a second"),
                (
                    f"drain of {report.tasks:,}",
                    f"{report.drain_per_second:,.0f} tasks a second, {report.processes} × {report.concurrency} at once",
                ),
                ("pick-up", _pickup(report)),
                ("WAL", f"{report.wal_per_task:,.0f} bytes a task, its insert not counted"),
                ("disk, a million tasks", _disk(report)),
                (
                    "memory of a worker",
                    None if report.worker_megabytes is None else f"{report.worker_megabytes:.0f} MB at the most",
                ),
            ]
        )
    )
    for hint in hints(report):
        say(f"- {hint}")


def _pickup(report: Report) -> str | None:
    if report.pickup_p50 is None or report.pickup_p99 is None:
        return None
    return f"{report.pickup_p50:.1f} ms after the commit, 99 % within {report.pickup_p99:.1f} ms"


def _disk(report: Report) -> str:
    parts = {"table": report.disk_tasks, "indexes": report.disk_indexes, "history": report.disk_history}
    shown = ", ".join(f"{name} {size * MILLION / 1e6:,.0f}" for name, size in parts.items())
    return f"{report.disk_per_million / 1e6:,.0f} MB ({shown})"
