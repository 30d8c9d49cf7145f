"""``pgsched event``: what happens to tasks, as it happens."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import examples, output_option, queue_option, type_option
from pgsched.cli.output import JSON, TABLE, cell, say, say_aside
from pgsched.cli.session import Session, server
from pgsched.cli.times import span
from pgsched.db.migrations.runner import check_schema
from pgsched.db.notifications import follow
from pgsched.domain.errors import DatabaseUnavailable

RECONNECT_SECONDS = 1.0
"""Pause before reconnecting."""


@click.group()
def event() -> None:
    """Follow the events of tasks."""


@event.command("follow", epilog=examples("pgsched event follow --queue mail --output json"))
@queue_option()
@type_option
@click.option("--count", "wanted", metavar="N", type=click.IntRange(min=1), help="Stop after N events.")
@output_option(TABLE, JSON)
@click.pass_obj
def follow_(session: Session, queue: str | None, task_type: str | None, wanted: int | None, output: str) -> None:
    """Print events as they happen, until Ctrl-C; as JSON, one object a line.

    A queue publishes events after `pgsched queue events NAME on`.
    """
    seen = 0
    with server(session.dsn) as dsn:
        check_schema(dsn)
        ready = False

        def listening() -> None:
            nonlocal ready
            if not ready and output != JSON:
                say_aside("listening")
            ready = True

        while True:
            try:
                for one in follow(dsn, on_ready=listening):
                    if queue not in (None, one.get("queue")) or task_type not in (None, one.get("task_type")):
                        continue
                    say(json.dumps(one, ensure_ascii=False) if output == JSON else _line(one))
                    seen += 1
                    if seen == wanted:
                        return
            except DatabaseUnavailable as error:
                if not ready:
                    raise
                say_error(f"{error}; events are missed until the connection is restored")
                time.sleep(RECONNECT_SECONDS)


def _line(event: dict[str, Any]) -> str:
    parts = [
        event.get("at"),
        event["event"],
        event.get("task_type"),
        f"task {event.get('id')}",
        f"attempt {event.get('attempt')}",
        f"queue {event.get('queue')}",
    ]
    if isinstance(event.get("duration"), int | float):
        parts.append(span(event["duration"]))
    if event.get("error"):
        parts.append(event["error"])
    return "  ".join(cell(part) for part in parts)
