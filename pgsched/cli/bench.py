"""``pgsched bench``: measures how fast a server is."""

from __future__ import annotations

import signal
from dataclasses import replace
from types import FrameType
from typing import Any, NoReturn

import click

from pgsched.bench.forecast import Site
from pgsched.bench.measure import Bench, Plan
from pgsched.bench.report import MILLION, Report, hints
from pgsched.bench.sites import NAMES, read_site, usual_sites
from pgsched.cli.errors import say_error
from pgsched.cli.options import PROCESSES, confirm, json_option, yes_option
from pgsched.cli.output import JSON, TABLE, fields, say, say_record, say_table
from pgsched.cli.session import Session, handling, server
from pgsched.db.queries.bench import Surroundings
from pgsched.domain.errors import InvalidTask, PgschedError

DEFAULTS = Plan()
INTERRUPTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def _check(context: click.Context, parameter: click.Parameter, given: tuple[str, ...]) -> tuple[str, ...]:
    """Reject a prediction that cannot be read, before anything is measured."""
    for one in given:
        try:
            read_site(one, Site(cores=1))
        except InvalidTask as error:
            raise click.BadParameter(str(error), context, parameter) from None
    return given


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
@click.option(
    "--handler",
    metavar="S",
    type=click.FloatRange(0, 60),
    default=DEFAULTS.handler,
    help="How long the handler of each drained task waits.",
)
@click.option(
    "--predict",
    "predictions",
    metavar="NAME=VALUE,…",
    multiple=True,
    callback=_check,
    help="Predict the rate, single inserts and pick-up of another site, such as cores=8,processes=4,round-trip=1ms. "
    f"What is not named is as measured. Names: {', '.join(NAMES)}. May be repeated.",
)
@json_option
@yes_option
@click.pass_obj
def bench(session: Session, /, as_json: bool, yes: bool, predictions: tuple[str, ...], **given: Any) -> None:
    """Measure the server: inserts, workers, pick-up, WAL, disk.

    It then predicts what the same tasks would do with other processors, processes, distances and disks.

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
    here = report.site
    sites = [read_site(one, here) for one in predictions] or usual_sites(here)
    say_record(replace(report, sites=sites), _show, output=JSON if as_json else TABLE)


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
                ("each commit", f"waits {report.sync_p50:.2f} ms for the disk"),
                ("single inserts", f"{report.single_per_second:,.0f} a second on one connection"),
                ("schedule_many", f"{report.bulk_per_second:,.0f} rows a second"),
                (
                    f"drain of {report.tasks:,}",
                    f"{report.drain_per_second:,.0f} tasks a second, {report.processes} × {report.concurrency} at once",
                ),
                ("processor time", _processor_time(report)),
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
    _show_predictions(report)


def _show_predictions(report: Report) -> None:
    say()
    if report.costs is None:
        say(
            "No prediction: the processor time of the server is not visible from here. Run it on the server's machine, "
            "with more --tasks if this run was too short, and name the other site by --predict."
        )
        return
    say("Prediction, from what this run measured of a task:")
    say_table(
        ("SITE", "TASKS/S", "LIMITED BY", "SINGLE INSERTS/S", "PICK-UP"),
        [
            (
                _site(site, report.site),
                f"{found.rate:,.0f}",
                found.limit,
                f"{found.inserts:,.0f}",
                f"{found.pickup * 1000:.1f} ms",
            )
            for site, found in report.predictions
        ],
    )


def _site(site: Site, measured: Site) -> str:
    """The site in words: its processors, and what differs from the measured one."""
    parts = [f"{site.cores:g} cores" if site.worker_cores is None else f"{site.cores:g} + {site.worker_cores:g} cores"]
    parts.append(f"{site.processes} × {site.concurrency}")
    for text, one, other in (
        ("round trip", site.round_trip, measured.round_trip),
        ("sync", site.sync, measured.sync),
        ("handler", site.handler, measured.handler),
    ):
        if one != other:
            parts.append(f"{text} {one * 1000:.2g} ms")
    if site.connections != measured.connections:
        parts.append(f"{site.connections} connections")
    return ", ".join(parts)


def _pickup(report: Report) -> str | None:
    if report.pickup_p50 is None or report.pickup_p99 is None:
        return None
    return f"{report.pickup_p50:.1f} ms after the commit, 99 % within {report.pickup_p99:.1f} ms"


def _processor_time(report: Report) -> str | None:
    if report.worker_processor is None or report.server_processor is None:
        return None
    worker, server = report.worker_processor * 1000, report.server_processor * 1000
    return f"{worker:.1f} µs a task in the worker, {server:.1f} µs in the server, {report.cores} cores here"


def _disk(report: Report) -> str:
    parts = {"table": report.disk_tasks, "indexes": report.disk_indexes, "history": report.disk_history}
    shown = ", ".join(f"{name} {size * MILLION / 1e6:,.0f}" for name, size in parts.items())
    return f"{report.disk_per_million / 1e6:,.0f} MB ({shown})"
