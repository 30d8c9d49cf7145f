"""``pgsched task emit`` and ``restart``, and what ``pgsched task show`` shows of a durable task."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from pgsched.cli.options import confirm, examples, read_json, yes_option
from pgsched.cli.output import Columns, cell, say, say_done, say_records
from pgsched.cli.session import pass_client
from pgsched.cli.task_name import id_of, read_name, task_argument
from pgsched.cli.times import span

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.durable_records import DurableEvent, DurableStep
    from pgsched.domain.task_status import TaskStatus

SHOWN_STEPS = 1_000
"""Maximum number of steps in a table; JSON has all of them."""
_LONGEST_RESULT = 60


def _result(value: Any) -> str | None:
    if value is None:
        return None
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _LONGEST_RESULT else text[:_LONGEST_RESULT] + "…"


_STEP: Columns = {"STEP": "name"}
_KEY: Columns = {"KEY": lambda one: one.key or None}
_STEP_COLUMNS: Columns = {
    "KIND": "kind",
    "STATUS": "status",
    "ATTEMPTS": "attempts",
    "STARTED": "started_at",
    "DURATION": lambda one: None if one.seconds is None else span(max(one.seconds, 0)),
}
_UNTIL: Columns = {"UNTIL": lambda one: one.wakes_at if one.finished_at is None else None}
_OUTCOME: Columns = {"RESULT": lambda one: _result(one.result), "ERROR": "error"}
_EVENTS: Columns = {
    "EVENT": "name",
    "KEY": "key",
    "SENT": "sent_at",
    "BY": "sent_by",
    "CONSUMED": "consumed_at",
    "PAYLOAD": lambda one: _result(one.payload),
}


def wait_in_words(status: TaskStatus) -> str | None:
    """Return what a durable task waits for and until when; None for one that does not wait."""
    if not status.awaits and status.wakes_at is None:
        return None
    named = {"event": "event", "child": "task"}  # a sleep has no name: its end is shown
    awaited = (one.partition(":") for one in status.awaits)
    words = [f"{named[kind]} {name}" for kind, _, name in awaited if kind in named]
    until = [] if status.wakes_at is None else [f"until {cell(status.wakes_at)}"]
    return ", ".join([*([" or ".join(words)] if words else []), *until])


class Durable(NamedTuple):
    """The steps that a durable task has recorded, and the events that it was sent; both empty for any other task."""

    steps: list[DurableStep]
    events: list[DurableEvent]

    def as_dict(self) -> dict[str, list[dict[str, Any]]]:
        """Return them as a JSON-able dictionary."""
        return {
            "durable_steps": [one.as_dict() for one in self.steps],
            "durable_events": [one.as_dict() for one in self.events],
        }


def durable_of(client: Client, task_id: int) -> Durable:
    """Read the steps and events of a task."""
    return Durable(client.durable_steps(task_id), client.durable_events(task_id))


def say_durable(durable: Durable) -> None:
    """Print steps and events; nothing for a task that is not durable."""
    if steps := durable.steps[:SHOWN_STEPS]:
        say()
        say_records(steps, _columns_of(steps))
    if durable.events:
        say()
        say_records([*durable.events], _EVENTS)


def _columns_of(steps: Sequence[DurableStep]) -> Columns:
    keys = _KEY if any(one.key for one in steps) else {}
    until = _UNTIL if any(one.wakes_at is not None and one.finished_at is None for one in steps) else {}
    return {**_STEP, **keys, **_STEP_COLUMNS, **until, **_OUTCOME}


@click.command(epilog=examples("pgsched task emit order-17 paid '{\"amount\": 42}'"))
@click.argument("words", metavar="ID|KEY NAME [PAYLOAD]", nargs=-1)
@click.option("--key", "event_key", metavar="KEY", help="A second event with the same name and key is not stored.")
@click.option("--task-key", metavar="KEY", help="The task by its idempotency key, also if the key is a number.")
@pass_client
def emit(client: Client, words: tuple[str, ...], event_key: str | None, task_key: str | None) -> None:
    """Send the event NAME to a durable task, whether or not it already waits for it.

    PAYLOAD is what the wait returns: any JSON value, @FILE or - for stdin.
    """
    context = click.get_current_context()
    least = 2 if task_key is None else 1
    if not least <= len(words) <= least + 1:
        task = "the task, " if task_key is None else ""
        raise click.UsageError(f"Give {task}the name of the event, and its payload if it has one.", context)
    *task_words, name = words[:least]
    payload = read_json(context, None, words[least]) if len(words) > least else None
    target = read_name(context, None, task_words[0]) if task_key is None else task_key
    task_id = id_of(client, target)
    event = client.emit(task_id, name, payload, event_key=event_key)
    say_done(f"task {task_id}: event {event} is sent")


@click.command()
@task_argument()
@click.option("--from", "from_step", metavar="STEP", help="The first step to run again.  [default: the first of all]")
@click.option("--from-key", metavar="KEY", default="", help="The key of that step, if it has one.")
@yes_option
@pass_client
def restart(client: Client, task_id: int, from_step: str | None, from_key: str, yes: bool) -> None:
    """Run a durable task again, from the beginning or from a step; later records are discarded.

    The children that it still waits for are cancelled. A running task is refused: cancel it first.
    """
    keyed = f" [{from_key}]" if from_key else ""
    records = "all of its records" if from_step is None else f"its records from {from_step}{keyed} on"
    confirm(f"Restart task {task_id} and discard {records}?", yes=yes)
    client.restart(task_id, from_step, from_key=from_key)
    say_done(f"task {task_id}: will run again")
