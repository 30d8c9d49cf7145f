"""``pgsched worker list``: lists the worker processes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli.options import json_option
from pgsched.cli.output import Columns, cell, say, say_records
from pgsched.cli.session import pass_client
from pgsched.domain.queue_selector import glob_of

if TYPE_CHECKING:
    from pgsched.client.client import Client

COLUMNS: Columns = {
    "HOST": "hostname",
    "PID": "pid",
    "QUEUES": lambda one: ", ".join([*one.queues, *map(glob_of, one.patterns)]),
    "RUNNING": "running",
    "CONCURRENCY": "concurrency",
    "STARTED": "started_at",
    "LAST HEARTBEAT": "heartbeat_at",
    "ALIVE": "alive",
    "TROUBLES": lambda one: ", ".join(dict.fromkeys(trouble.kind for trouble in one.troubles)) or "none",
    "ID": "id",
}
NONE_YET = "no workers: start one with 'pgsched worker --app module:app'"


@click.command("list")
@json_option
@pass_client
def list_(client: Client, as_json: bool) -> None:
    """List the worker processes."""
    found = client.workers()
    say_records(found, COLUMNS, as_json=as_json, empty=NONE_YET)
    if not as_json and any(one.troubles for one in found):
        say("\nWhat is wrong:")
        for one in found:
            for trouble in one.troubles:
                say(cell(f"{one.hostname} {one.pid}: {trouble.kind}: {trouble.detail}"))
        say("'pgsched doctor' says what to do.")
