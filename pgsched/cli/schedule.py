"""``pgsched schedule``: syncs declared schedules, backfills, skips and replans ticks."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING

import click

from pgsched.app.loading import load_app
from pgsched.cli.options import instant, json_option, program_option, read_moment
from pgsched.cli.output import cell, count, say, say_json, say_table
from pgsched.cli.session import Session, lists, pass_client, server
from pgsched.cli.task import change_each, for_each_id
from pgsched.cli.task_name import Name, task_argument, tasks_argument
from pgsched.db.migrations.runner import check_schema
from pgsched.domain.errors import PgschedError
from pgsched.worker.declared_schedules import sync_schedules

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.scheduled import BackfillTick

SAID = {
    "added": "added",
    "changed": "changed as in the code",
    "unchanged": "in step",
    "edited": "edited in the table: left as it is until the code changes",
    "overwritten": "changed as in the code, over what was edited in the table",
    "orphaned": "no longer in the code: --prune disables it",
    "disabled": "no longer in the code: disabled",
    "in use": "no longer in this code, but a running worker's code declares it: left as it is",
}


@click.group()
def schedule() -> None:
    """Sync declared schedules with the table, backfill past ticks, skip and replan."""


@schedule.command()
@task_argument()
@click.option(
    "--from", "since", metavar="TIME", callback=read_moment, required=True, help="Ticks at or after this time."
)
@click.option(
    "--to", "until", metavar="TIME", callback=read_moment, required=True, help="Ticks at or before this time."
)
@click.option("--max-ticks", type=int, default=100, show_default=True, help="Refuse a range with more ticks.")
@click.option("--dry-run", is_flag=True, help="Only list the ticks.")
@lists({"TICK": "tick", "OUTCOME": "outcome", "TASK": "task_id"}, empty="no ticks")
def backfill(
    client: Client, task_id: int, since: datetime, until: datetime, max_ticks: int, dry_run: bool
) -> list[BackfillTick]:
    """Run the ticks of a schedule in a past range, each once.

    Ticks that already ran, and those the schedule will still run by itself, are left alone. A time without an offset is
    in the schedule's zone.
    """
    zone = client.get(task_id).timezone
    return client.backfill(task_id, instant(since, zone), instant(until, zone), max_ticks=max_ticks, dry_run=dry_run)


@schedule.command()
@tasks_argument(required=False)
@click.option("--all", "every", is_flag=True, help="All waiting schedules, and those that ended with a tick left.")
@pass_client
def replan(client: Client, names: tuple[Name, ...], every: bool) -> None:
    """Replan schedules from now, for example after the database's clock was ahead.

    A due tick that has not run yet is dropped and recorded as missed.
    """
    if bool(names) == every:
        raise click.UsageError("give schedules by their ids or keys, or --all")
    if every:
        say(f"{count(client.replan_all(), 'schedule')} planned anew")
        return

    def change(client: Client, task_id: int) -> str:
        due = client.replan(task_id)
        return "is over" if due is None else f"is due at {cell(due)}"

    change_each(client, names, change)


@schedule.command()
@for_each_id
def skip(client: Client, task_id: int) -> str:
    """Skip the next tick of a schedule; repeat to skip one more."""
    skipped = client.skip_next(task_id)
    then = "it is over" if skipped.next_tick is None else f"the next tick is {cell(skipped.next_tick)}"
    return f"skips {cell(skipped.tick)}, {then}"


@schedule.command()
@program_option("--app", metavar="MODULE:APP", required=True, help="The app with the declarations.")
@click.option("--prune", is_flag=True, help="Disable the schedules that the code no longer declares.")
@json_option
@click.pass_obj
def sync(session: Session, app: str, prune: bool, as_json: bool) -> None:
    """Insert and update the schedules that an app declares, as its workers do at start."""
    registry = load_app(app).registry
    with server(session.dsn) as dsn:
        check_schema(dsn)
        synced = asyncio.run(sync_schedules(dsn=dsn, registry=registry, prune=prune))
    refused = [one for one in synced if one.outcome == "refused"]
    if as_json:
        say_json([{name: said for name, said in one._asdict().items() if said is not None} for one in synced])
    else:
        said = [(str(one), SAID[one.outcome]) for one in synced if one not in refused]
        say_table(("TYPE", "SCHEDULE"), said, empty="no schedules")
    if refused:
        raise PgschedError("; ".join(f"the schedule of {str(one)!r} was refused: {one.reason}" for one in refused))
