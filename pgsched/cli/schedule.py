"""``pgsched schedule``: lists and changes schedules, which are tasks with a cron expression or an interval."""

from __future__ import annotations

import asyncio
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

from pgsched.app.loading import load_app
from pgsched.cli.options import cursor_option, examples, limit_option, output_option, program_option
from pgsched.cli.output import JSON, TABLE, Columns, cell, count, say_done, say_json, say_table
from pgsched.cli.session import Session, lists, pass_client, server
from pgsched.cli.task import change_each, disable, enable, for_each_id, run, schedule_in_words, show
from pgsched.cli.task_filters import filters_of, schedule_filter_options
from pgsched.cli.task_name import Name, task_argument, tasks_argument
from pgsched.cli.task_next import next_
from pgsched.cli.times import instant, read_moment
from pgsched.db.migrations.runner import check_schema
from pgsched.domain.errors import PgschedError
from pgsched.domain.task_filters import SCHEDULE_TYPES
from pgsched.worker.declared_schedules import sync_schedules

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.records import Task
    from pgsched.domain.scheduled import BackfillTick

SAID = {
    "added": "added",
    "changed": "changed as in the code",
    "unchanged": "unchanged",
    "edited": "edited in the table: left as it is until the code changes",
    "overwritten": "changed as in the code, over what was edited in the table",
    "orphaned": "no longer in the code: --prune disables it",
    "disabled": "no longer in the code: disabled",
    "in use": "no longer in this code, but a running worker's code declares it: left as it is",
}


COLUMNS: Columns = {
    "ID": "id",
    "KEY": "idempotency_key",
    "TYPE": "task_type",
    "QUEUE": "queue",
    "STATUS": lambda one: one.status if one.enabled else f"{one.status}, disabled",
    "SCHEDULE": schedule_in_words,
    "NEXT RUN": "next_run_at",
    "RUNS": "execution_count",
}


@click.group()
def schedule() -> None:
    """List, show and change schedules; run past ticks."""


for command in (disable, enable, next_, run, show):
    schedule.add_command(command)


@schedule.command("list", epilog=examples("pgsched schedule list --queue reports --enabled"))
@schedule_filter_options
@limit_option(50)
@cursor_option
@lists(COLUMNS, empty="no schedules")
def list_(client: Client, /, limit: int, cursor: str | None, **given: Any) -> list[Task]:
    """List schedules that match all filters, the latest first."""
    given["schedule_type"] = given["schedule_type"] or tuple(one for one in SCHEDULE_TYPES if one != "one_time")
    return client.list_tasks(limit=limit, cursor=cursor, **filters_of(given))


@schedule.command(
    epilog=examples("pgsched schedule backfill nightly-report --from 2030-03-01 --to 2030-03-07 --dry-run")
)
@task_argument()
@click.option(
    "--from", "since", metavar="TIME", callback=read_moment, required=True, help="Ticks at or after this time."
)
@click.option(
    "--to", "until", metavar="TIME", callback=read_moment, required=True, help="Ticks at or before this time."
)
@click.option("--max-ticks", type=int, default=100, show_default=True, help="Refuse a range with more ticks.")
@click.option("--dry-run", is_flag=True, help="Only list the ticks, and run none.")
@lists({"TICK": "tick", "OUTCOME": "outcome", "TASK": "task_id"}, empty="no ticks")
def backfill(
    client: Client, task_id: int, since: datetime, until: datetime, max_ticks: int, dry_run: bool
) -> list[BackfillTick]:
    """Run the ticks of a schedule in a past range, each once.

    Ticks that have run, and ticks that the schedule will still run itself, are skipped. A time without an offset is in
    the time zone of the schedule.
    """
    zone = client.get(task_id).timezone
    return client.backfill(task_id, instant(since, zone), instant(until, zone), max_ticks=max_ticks, dry_run=dry_run)


@schedule.command(epilog=examples("pgsched schedule replan nightly-report", "pgsched schedule replan --all"))
@tasks_argument(required=False)
@click.option(
    "--all", "every", is_flag=True, help="All waiting schedules, and those that ended before their last tick."
)
@pass_client
def replan(client: Client, names: tuple[Name, ...], every: bool) -> None:
    """Plan the next tick of schedules again from now, for example after the database's clock was ahead.

    A due tick that has not run yet is dropped and recorded as missed. Ticks that ran while the clock was ahead do not
    run again.
    """
    if bool(names) == every:
        raise click.UsageError("Give schedules by their ids or keys, or --all.", click.get_current_context())
    if every:
        say_done(f"{count(client.replan_all(), 'schedule')} replanned")
        return

    def change(client: Client, task_id: int) -> str:
        due = client.replan(task_id)
        return "is over" if due is None else f"is due at {cell(due)}"

    change_each(client, names, change)


@schedule.command()
@for_each_id
def skip(client: Client, task_id: int) -> str:
    """Skip the next tick of a schedule; run it again to skip one more."""
    skipped = client.skip_next(task_id)
    then = "it is over" if skipped.next_tick is None else f"the next tick is {cell(skipped.next_tick)}"
    return f"skips {cell(skipped.tick)}, {then}"


@schedule.command(epilog=examples("pgsched schedule sync --app shop.tasks:app --prune"))
@program_option("--app", metavar="MODULE:APP", required=True, help="The app that declares the schedules.")
@click.option("--prune", is_flag=True, help="Disable the schedules that the code no longer declares.")
@output_option(TABLE, JSON)
@click.pass_obj
def sync(session: Session, app: str, prune: bool, output: str) -> None:
    """Insert and update the schedules that an app declares, as its workers do when they start."""
    registry = load_app(app).registry
    with server(session.dsn) as dsn:
        check_schema(dsn)
        synced = asyncio.run(sync_schedules(dsn=dsn, registry=registry, prune=prune))
    refused = [one for one in synced if one.outcome == "refused"]
    if output == JSON:
        say_json([{name: said for name, said in one._asdict().items() if said is not None} for one in synced])
    else:
        said = [(str(one), SAID[one.outcome]) for one in synced if one not in refused]
        say_table(("TYPE", "SCHEDULE"), said, empty="no schedules")
    if refused:
        raise PgschedError("; ".join(f"the schedule of {str(one)!r} was refused: {one.reason}" for one in refused))
