"""``pgsched queue``: the queues, paused and resumed."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import say, say_rows, span
from pgsched.cli.session import Session
from pgsched.records import QueueInfo

HEADERS = ("QUEUE", "PAUSED", "PENDING", "DUE", "RUNNING", "DEAD", "OLDEST DUE FOR")
NONE_YET = "no queues yet: a queue appears with its first task"


def rows(queues: Sequence[QueueInfo]) -> list[tuple[object, ...]]:
    """The rows of a table of queues."""
    return [
        (
            one.name,
            one.paused,
            one.pending,
            one.due,
            one.running,
            one.dead,
            None if one.oldest_due_seconds is None else span(one.oldest_due_seconds),
        )
        for one in queues
    ]


@click.group()
def queue() -> None:
    """List, pause and resume queues."""


@queue.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the queues that have tasks or settings."""
    with session.client() as client:
        found = client.queues()
    say_rows(found, HEADERS, rows(found), as_json=as_json, empty=NONE_YET)


@queue.command()
@click.argument("name")
@click.pass_obj
def pause(session: Session, name: str) -> None:
    """Claim nothing more of a queue; what runs goes on."""
    with session.client() as client:
        client.pause_queue(name)
    say(f"queue {name}: paused")


@queue.command()
@click.argument("name")
@click.pass_obj
def resume(session: Session, name: str) -> None:
    """Work on a paused queue again."""
    with session.client() as client:
        client.resume_queue(name)
    say(f"queue {name}: resumed")
