"""``pgsched schedule backfill``: ticks that passed, run now."""

from __future__ import annotations

from datetime import datetime

import click

from pgsched.cli.options import TASK_ID, instant, json_option, read_moment
from pgsched.cli.output import say_rows
from pgsched.cli.session import Session


@click.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@click.option(
    "--from", "since", metavar="TIME", callback=read_moment, required=True, help="The first tick at or after."
)
@click.option("--to", "until", metavar="TIME", callback=read_moment, required=True, help="The last tick at or before.")
@click.option("--max-ticks", type=int, default=100, show_default=True, help="More ticks in the range are refused.")
@click.option("--dry-run", is_flag=True, help="Only list them.")
@json_option
@click.pass_obj
def backfill(
    session: Session, task_id: int, since: datetime, until: datetime, max_ticks: int, dry_run: bool, as_json: bool
) -> None:
    """Run the ticks of a schedule in a range that is past, each once.

    Ticks that ran already, and those that the schedule is still to run by itself, are left alone. A time without an
    offset is in the schedule's zone.
    """
    with session.client() as client:
        zone = client.get(task_id).timezone
        ticks = client.backfill(
            task_id, instant(since, zone), instant(until, zone), max_ticks=max_ticks, dry_run=dry_run
        )
    say_rows(
        ticks,
        ("TICK", "OUTCOME", "TASK"),
        [(one.tick, one.outcome, one.task_id) for one in ticks],
        as_json=as_json,
        empty="no ticks",
    )
