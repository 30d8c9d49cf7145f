"""``pgsched dead``: the dead letters."""

from __future__ import annotations

import click

from pgsched.cli.options import (
    confirm,
    json_option,
    limit_option,
    queue_option,
    yes_option,
)
from pgsched.cli.output import count, say, say_rows
from pgsched.cli.session import Session
from pgsched.db import commands


@click.group()
def dead() -> None:
    """List, retry and purge the tasks that failed for good."""


queue_filter = queue_option("Only of this queue.")
type_filter = click.option("--type", "task_type", metavar="TYPE", help="Only of this task type.")


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
@yes_option
@click.pass_obj
def retry(session: Session, queue: str | None, task_type: str | None, yes: bool) -> None:
    """Give every dead task that matches all its attempts again, due now."""
    with session.client() as client:
        found = client.database.run(commands.count_dead(queue=queue, task_type=task_type))
        if found:
            confirm(f"Run {count(found, 'dead task')} {which(queue, task_type)} again?", yes=yes)
        number = client.retry_dead(queue=queue, task_type=task_type, all=True)
    say(f"{count(number, 'dead task')} will run again")


@dead.command()
@queue_filter
@type_filter
@click.option("--older-than", metavar="DURATION", help="Only those that died longer ago, as 7d or 12h.")
@yes_option
@click.pass_obj
def purge(session: Session, queue: str | None, task_type: str | None, older_than: str | None, yes: bool) -> None:
    """Delete every dead task that matches, for good."""
    with session.client() as client:
        found = client.database.run(commands.count_dead(queue=queue, task_type=task_type, older_than=older_than))
        if found:
            confirm(f"Delete {count(found, 'dead task')} {which(queue, task_type, older_than)}, for good?", yes=yes)
        number = client.purge_dead(queue=queue, task_type=task_type, older_than=older_than, all=True)
    say(f"{count(number, 'dead task')} deleted")


def which(queue: str | None, task_type: str | None, older_than: str | None = None) -> str:
    """The filters in words: ``of queue mail that died more than 7d ago``."""
    words = [
        f"of queue {queue}" if queue is not None else "of all queues",
        f"of type {task_type}" if task_type is not None else "",
        f"that died more than {older_than} ago" if older_than is not None else "",
    ]
    return " ".join(filter(None, words))


def _first_line(text: str | None) -> str | None:
    return next(iter(text.strip().splitlines()), "") if text else text
