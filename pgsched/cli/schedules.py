"""``pgsched schedule``: schedules declared in code, and schedules that are planned afresh."""

from __future__ import annotations

import asyncio

import click

from pgsched.app.loading import load_app
from pgsched.cli.backfill import backfill
from pgsched.cli.options import TASK_ID, json_option, program_option
from pgsched.cli.output import cell, count, say, say_json, say_table
from pgsched.cli.session import Session, server
from pgsched.cli.tasks import for_each_id, ids_argument
from pgsched.client.client import Client
from pgsched.db.migrate import check_schema
from pgsched.domain.errors import PgschedError
from pgsched.worker.declared_schedules import sync_schedules

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
    """Keep schedules declared in code and the table in step, run ticks that passed, and plan afresh."""


schedule.add_command(backfill)


@schedule.command()
@click.argument("ids", nargs=-1, type=TASK_ID)
@click.option("--all", "every", is_flag=True, help="All schedules that wait, and those that ended with a tick to come.")
@click.pass_obj
def replan(session: Session, ids: tuple[int, ...], every: bool) -> None:
    """Book schedules afresh from now, as after a database's clock that was ahead.

    A tick that is due and has not run yet is given up, and noted among the missed ticks.
    """
    if bool(ids) == every:
        raise click.UsageError("give the ids of schedules, or --all")
    if every:
        with session.client() as client:
            say(f"{count(client.replan_all(), 'schedule')} planned afresh")
        return

    def change(client: Client, task_id: int) -> str:
        due = client.replan(task_id)
        return "is over" if due is None else f"is due at {cell(due)}"

    for_each_id(session, ids, change)


@schedule.command()
@ids_argument
@click.pass_obj
def skip(session: Session, ids: tuple[int, ...]) -> None:
    """Skip the next tick of a schedule; again for one more."""

    def change(client: Client, task_id: int) -> str:
        skipped = client.skip_next(task_id)
        then = "it is over" if skipped.next_tick is None else f"the next tick is {cell(skipped.next_tick)}"
        return f"skips {cell(skipped.tick)}, {then}"

    for_each_id(session, ids, change)


@schedule.command()
@program_option("--app", metavar="MODULE:APP", required=True, help="Whose declarations.")
@click.option("--prune", is_flag=True, help="Disable the schedules that the code no longer declares.")
@json_option
@click.pass_obj
def sync(session: Session, app: str, prune: bool, as_json: bool) -> None:
    """Insert and update the schedules that an app declares, as its workers do when they start."""
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
