"""``pgsched worker list``."""

from __future__ import annotations

from collections.abc import Sequence

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import cell, say_rows
from pgsched.cli.session import Session
from pgsched.domain.queue_selector import glob_of
from pgsched.domain.records import WorkerInfo

HEADERS = ("HOST", "PID", "QUEUES", "RUNNING", "CONCURRENCY", "STARTED", "LAST HEARTBEAT", "ALIVE", "TROUBLES", "ID")
NONE_YET = "no workers: start one with 'pgsched worker --app module:app'"


def rows(workers: Sequence[WorkerInfo]) -> list[tuple[object, ...]]:
    """The rows of a table of workers."""
    return [
        (
            one.hostname,
            one.pid,
            ", ".join([*one.queues, *map(glob_of, one.patterns)]),
            one.running,
            one.concurrency,
            one.started_at,
            one.heartbeat_at,
            one.alive,
            ", ".join(dict.fromkeys(trouble.kind for trouble in one.troubles)) or "none",
            one.id,
        )
        for one in workers
    ]


@click.command("list")
@json_option
@click.pass_obj
def list_(session: Session, as_json: bool) -> None:
    """List the worker processes."""
    with session.client() as client:
        found = client.workers()
    say_rows(found, HEADERS, rows(found), as_json=as_json, empty=NONE_YET)
    if not as_json and any(one.troubles for one in found):
        click.echo("\nWhat is wrong:")
        for one in found:
            for trouble in one.troubles:
                click.echo(cell(f"{one.hostname} {one.pid}: {trouble.kind}: {trouble.detail}"))
        click.echo("'pgsched doctor' says what to do.")
