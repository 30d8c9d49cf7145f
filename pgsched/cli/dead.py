"""``pgsched dead``: the dead letters."""

from __future__ import annotations

import click

from pgsched.cli.options import (
    confirm,
    json_option,
    limit_option,
    option,
    queue_option,
    yes_option,
)
from pgsched.cli.output import count, say, say_rows
from pgsched.cli.session import Session


@click.group()
def dead() -> None:
    """List, retry and purge the tasks that failed for good."""


queue_filter = queue_option("Only of this queue.")
type_filter = option("--type", "task_type", metavar="TYPE", help="Only of this task type.")


@dead.command("list")
@queue_filter
@type_filter
@limit_option(50)
@json_option
@click.pass_obj
def list_(session: Session, queue: str | None, task_type: str | None, limit: int, as_json: bool) -> None:
    """List dead tasks, the latest first."""
    with session.client() as client:
        found = client.dead(queue=queue, task_type=task_type, limit=limit)
    say_rows(
        found,
        ("ID", "TYPE", "QUEUE", "ATTEMPTS", "DIED", "ERROR"),
        [(one.id, one.task_type, one.queue, one.attempts, one.died_at, _first_line(one.last_error)) for one in found],
        as_json=as_json,
        empty="no dead tasks",
    )


@dead.command()
@queue_filter
@type_filter
@click.pass_obj
def retry(session: Session, queue: str | None, task_type: str | None) -> None:
    """Give every dead task that matches all its attempts again, due now."""
    with session.client() as client:
        number = client.retry_dead(queue=queue, task_type=task_type)
    say(f"{count(number, 'dead task')} will run again")


@dead.command()
@queue_filter
@type_filter
@option("--older-than", metavar="DURATION", help="Only those that died longer ago, as 7d or 12h.")
@yes_option
@click.pass_obj
def purge(session: Session, queue: str | None, task_type: str | None, older_than: str | None, yes: bool) -> None:
    """Delete every dead task that matches, for good."""
    with session.client() as client:
        confirm("Delete every dead task that matches?", yes=yes)
        number = client.purge_dead(queue=queue, task_type=task_type, older_than=older_than)
    say(f"{count(number, 'dead task')} deleted")


def _first_line(text: str | None) -> str | None:
    return next(iter(text.strip().splitlines()), "") if text else text
