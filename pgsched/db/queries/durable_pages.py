"""The dashboard's commands about durable tasks. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple

from pgsched.db.query import Command, Rows, command, rows_as, value
from pgsched.domain.durable_records import DurableEvent, DurableStep

LONGEST: Final = 65_536
"""Maximum length of a result or a payload on a page, as JSON text."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStep(DurableStep):
    """A step and its position in the run."""

    left_out: bool
    """Whether the result is too long to be shown."""
    place: int
    """Its number by the order of starts, from 1."""
    number: int
    """The number of recorded steps of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent(DurableEvent):
    """An event in a mailbox."""

    left_out: bool
    """Whether the payload is too long to be shown."""


class RunOfTask(NamedTuple):
    """Identifies a run of its task."""

    began_at: datetime
    tick_number: int


def list_runs(task_id: int, *, limit: int) -> Command[list[RunOfTask]]:
    """Read the last runs of a task that still have steps, the latest first."""

    def parse(rows: Rows) -> list[RunOfTask]:
        return [RunOfTask(row["began_at"], row["tick_number"]) for row in rows]

    return command("list_runs", parse, task_id=task_id, limit=limit)


def show_run(
    task_id: int, began_at: datetime, *, until: int | None, limit: int, longest: int = LONGEST
) -> Command[list[ShownStep]]:
    """Read a number of steps of a run up to a position, or its last ones, and all waiting ones, by the order of starts.

    Results longer than ``longest`` are left out.
    """
    params = {"task_id": task_id, "began_at": began_at, "until": until, "limit": limit, "longest": longest}
    return command("show_run", rows_as(ShownStep), **params)


def show_mailbox(task_id: int, *, limit: int) -> Command[list[ShownEvent]]:
    """Read the last events sent to a task, in order."""
    return command("show_mailbox", rows_as(ShownEvent), task_id=task_id, limit=limit, longest=LONGEST)


def is_new_event(id: int) -> Command[bool]:
    """Read whether this transaction has stored an event."""
    return command("is_new_event", value("is_new"), id=id)
