"""The options of a task, for the commands that add and edit one."""

from __future__ import annotations

from datetime import datetime
from typing import Any, cast

import click

from pgsched.cli.options import (
    Function,
    instant,
    queue_option,
    read_ids,
    read_json_object,
    read_moment,
)
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.validation import RULES

_PAYLOAD = click.option(
    "--payload",
    metavar="JSON",
    callback=read_json_object,
    help="The handler's arguments: a JSON object, @file, or - for stdin.",
)
_OPTIONS = (
    click.option(
        "--at",
        metavar="TIME",
        callback=read_moment,
        help="Once, at this time (ISO 8601; without an offset in --timezone).",
    ),
    click.option("--delay", metavar="DURATION", help="Once, so long from now, as 90s, 15m, 2h, 1d."),
    click.option(
        "--cron",
        metavar="EXPRESSION",
        help="By a cron expression: 5 fields, or 6 with seconds first, and options as days=both.",
    ),
    click.option("--every", metavar="DURATION", help="Every so often."),
    click.option("--times", type=int, help="With --every: so many times."),
    click.option("--timezone", metavar="ZONE", help="The IANA zone the schedule is read in."),
    click.option("--start", metavar="TIME", callback=read_moment, help="No tick before."),
    click.option("--end", metavar="TIME", callback=read_moment, help="No tick after."),
    queue_option("The queue."),
    click.option("--priority", type=int, help="1 to 10; 10 runs first."),
    click.option(
        "--key", help="Idempotency key: no two tasks have the same; adding a known one prints the task that has it."
    ),
    click.option("--name", help="A label for people."),
    click.option("--tag", "tags", multiple=True, help="A label to filter by; may be repeated."),
    click.option(
        "--metadata", metavar="JSON", callback=read_json_object, help="A JSON object for people and programs."
    ),
    click.option("--tenant", help="Whose task it is, as an organisation."),
    click.option("--user", help="Whose task it is, as a person."),
    click.option("--max-attempts", type=int, help="Attempts before it is dead."),
    click.option("--backoff", metavar="POLICY", help="exponential, linear or fixed."),
    click.option("--backoff-delay", metavar="DURATION", help="The first delay."),
    click.option("--backoff-max", metavar="DURATION", help="The longest delay; at least the first."),
    click.option("--backoff-factor", type=float, help="By what an exponential delay grows; 2."),
    click.option("--backoff-jitter", type=float, help="Spread of the delays, as a share of them; 0.2, 0 for none."),
    click.option("--timeout", metavar="DURATION", help="Of one attempt."),
    click.option("--on-missed", metavar="POLICY", help="Ticks missed: once, skip or all."),
    click.option("--catchup-window", metavar="DURATION", help="Missed ticks older than this are not run."),
    click.option("--overlap", metavar="POLICY", help="Ticks while the last one runs: skip or allow."),
    click.option("--jitter", metavar="DURATION", help="Start up to so much later."),
    click.option("--depends-on", metavar="IDS", callback=read_ids, help="After these tasks, as 1,2."),
    click.option("--dependency-mode", metavar="MODE", help="After all of them, or any."),
    click.option("--on-dependency-dead", metavar="POLICY", help="When one of them is dead: cancel, run or wait."),
    click.option("--concurrency-key", metavar="KEY", help="Whose limits of the queue count."),
    click.option(
        "--alert-if-no-success-for", metavar="DURATION", help="Tell of it when no attempt was completed for so long."
    ),
    click.option("--alert-if-running-for", metavar="DURATION", help="Tell of it when an attempt runs for so long."),
)


def task_options(command: Function) -> Function:
    """Every option of a task."""
    return _PAYLOAD(group_options(command))


def group_options(command: Function) -> Function:
    """Every option of a group: its payload is the plan of its steps."""
    for one in reversed(_OPTIONS):
        command = one(command)
    return command


_COLUMNS = {"key": "idempotency_key", "tenant": "tenant_id", "user": "user_id"}
_WORDS = {column: word for word, column in _COLUMNS.items()}
_KEPT = ("cron", "every", "created_by", "parent_id", "backoff_factor", "backoff_jitter")
CLEARABLE = {
    _WORDS.get(name, name).replace("_", "-"): name
    for name, rule in RULES.items()
    if rule.may_be_empty and name not in _KEPT
}
"""Options that a task may have none of, by the name that the command line gives them."""


def lacks_zone(given: dict[str, Any]) -> bool:
    """Whether a time without an offset was given, and no zone to read it in."""
    times = [value for value in given.values() if isinstance(value, datetime)]
    return given["timezone"] is None and any(time.tzinfo is None for time in times)


def chosen_options(given: dict[str, Any], *, zone: str | None = None) -> TaskOptions:
    """The client's options: only those that were given, so that its defaults hold.

    Times without an offset are read in ``--timezone``, else in ``zone``, else in UTC.
    """
    zone = given["timezone"] or zone
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        if value is None or value == ():
            continue
        if isinstance(value, datetime):
            value = instant(value, zone)
        chosen[_COLUMNS.get(name, name)] = list(value) if isinstance(value, tuple) else value
    return cast("TaskOptions", chosen)  # one option of the command for each
