"""``pgsched task add``: every option of a task."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import click

from pgsched.cli.options import (
    instant,
    json_option,
    option,
    queue_option,
    read_json_object,
    read_moment,
)
from pgsched.cli.output import say, say_json
from pgsched.cli.session import Session
from pgsched.spec import TaskOptions


@click.command()
@click.argument("task_type", metavar="TYPE")
@option(
    "--payload",
    metavar="JSON",
    callback=read_json_object,
    help="The handler's arguments: a JSON object, @file, or - for stdin.",
)
@option(
    "--at",
    metavar="TIME",
    callback=read_moment,
    help="Once, at this time (ISO 8601; without an offset in --timezone).",
)
@option("--delay", metavar="DURATION", help="Once, so long from now, as 90s, 15m, 2h, 1d.")
@option("--cron", metavar="EXPRESSION", help="By a cron expression of 5 fields, or 6 with seconds first.")
@option("--every", metavar="DURATION", help="Every so often.")
@option("--times", type=int, help="With --every: so many times.")
@option("--timezone", metavar="ZONE", help="The IANA zone the schedule is read in.  [default: UTC]")
@option("--start", metavar="TIME", callback=read_moment, help="No tick before.")
@option("--end", metavar="TIME", callback=read_moment, help="No tick after.")
@queue_option("The queue.  [default: default]")
@option("--priority", type=int, help="1 to 10; 10 runs first.  [default: 5]")
@option("--key", help="Idempotency key: with a known one the existing task's id is printed.")
@option("--name", help="A label for people.")
@option("--tag", "tags", multiple=True, help="A label to filter by; may be repeated.")
@option("--metadata", metavar="JSON", callback=read_json_object, help="A JSON object for people and programs.")
@option("--tenant", help="Whose task it is, as an organisation.")
@option("--user", help="Whose task it is, as a person.")
@option("--max-attempts", type=int, help="Attempts before it is dead.  [default: 3]")
@option("--backoff", metavar="POLICY", help="exponential, linear or fixed.  [default: exponential]")
@option("--backoff-delay", metavar="DURATION", help="The first delay.  [default: 5s]")
@option("--backoff-max", metavar="DURATION", help="The longest delay.  [default: 1h]")
@option("--timeout", metavar="DURATION", help="Of one attempt.")
@option("--on-missed", metavar="POLICY", help="Ticks missed: once, skip or all.  [default: once]")
@option("--catchup-window", metavar="DURATION", help="Missed ticks older than this are not run.")
@option("--overlap", metavar="POLICY", help="Ticks while the last one runs: skip or allow.  [default: skip]")
@option("--jitter", metavar="DURATION", help="Start up to so much later.")
@option("--disabled", is_flag=True, help="Add it paused.")
@json_option
@click.pass_obj
def add(session: Session, /, task_type: str, as_json: bool, disabled: bool, **given: Any) -> None:
    """Add a task and print its id.

    Without --at, --delay, --cron or --every it is due at once.
    """
    with session.client() as client:
        task_id = client.schedule(task_type, given.pop("payload"), **_options(given, disabled=disabled))
        if as_json:
            say_json(client.get(task_id).as_dict())
        else:
            say(str(task_id))


_COLUMNS = {"key": "idempotency_key", "tenant": "tenant_id", "user": "user_id"}


def _options(given: dict[str, Any], *, disabled: bool) -> TaskOptions:
    """The client's options: only those that were given, so that its defaults hold."""
    zone = given["timezone"]
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        if isinstance(value, datetime):
            value = instant(value, zone)
        chosen[_COLUMNS.get(name, name)] = list(value) if isinstance(value, tuple) else value
    if disabled:
        chosen["enabled"] = False
    return cast("TaskOptions", chosen)  # one option of the command for each
