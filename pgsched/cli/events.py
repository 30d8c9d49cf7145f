"""``pgsched events``: what happens to tasks, as it happens."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from pgsched.cli.errors import say_error
from pgsched.cli.options import json_option, queue_option, type_option
from pgsched.cli.output import cell, say, span
from pgsched.cli.session import Session, server
from pgsched.db.migrations.runner import check_schema
from pgsched.db.notifications import follow
from pgsched.domain.errors import DatabaseUnavailable

AGAIN_SECONDS = 1.0
"""Pause before reconnecting."""


@click.command()
@queue_option()
@type_option
@click.option("--count", "wanted", metavar="N", type=click.IntRange(min=1), help="Stop after N events.")
@json_option
@click.pass_obj
def events(session: Session, queue: str | None, task_type: str | None, wanted: int | None, as_json: bool) -> None:
    """Follow task events, until Ctrl-C.

    A queue publishes events once `pgsched queue events NAME on` was run.
    """
    seen = 0
    with server(session.dsn) as dsn:
        check_schema(dsn)
        ready = False

        def listening() -> None:
            nonlocal ready
            if not ready and not as_json:
                click.echo("listening", err=True)
            ready = True

        while True:
            try:
                for event in follow(dsn, on_ready=listening):
                    if queue not in (None, event.get("queue")) or task_type not in (None, event.get("task_type")):
                        continue
                    say(json.dumps(event, ensure_ascii=False) if as_json else _line(event))
                    seen += 1
                    if seen == wanted:
                        return
            except DatabaseUnavailable as error:
                if not ready:
                    raise
                say_error(f"{error}; events are missed until the database is back")
                time.sleep(AGAIN_SECONDS)


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
