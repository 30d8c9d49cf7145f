"""What the dashboard asks of the database about durable tasks. Pure, as :mod:`pgsched.db.queries`."""

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
    """A step, and where it stands in its run."""

    left_out: bool
    """The result is too long to be shown."""
    place: int
    """In the order of its start, from 1."""
    number: int
    """How many steps the run has recorded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownEvent(DurableEvent):
    """An event in a mailbox."""

    left_out: bool
    """The payload is too long to be shown."""


class RunOfTask(NamedTuple):
    """Which run of its task it is."""

    began_at: datetime
    tick_number: int


def list_runs(task_id: int, *, limit: int) -> Command[list[RunOfTask]]:
    """Read the last runs of a task of which steps are kept, the latest first."""

    def parse(rows: Rows) -> list[RunOfTask]:
        return [RunOfTask(row["began_at"], row["tick_number"]) for row in rows]

    return command("list_runs", parse, task_id=task_id, limit=limit)


def show_run(
    task_id: int, began_at: datetime, *, until: int | None, limit: int, longest: int = LONGEST
) -> Command[list[ShownStep]]:
    """Read so many steps of a run up to a place, or its last ones, and all that wait; in the order of their start.

    Results longer than ``longest`` are left out.
    """
    params = {"task_id": task_id, "began_at": began_at, "until": until, "limit": limit, "longest": longest}
    return command("show_run", rows_as(ShownStep), **params)


def show_mailbox(task_id: int, *, limit: int) -> Command[list[ShownEvent]]:
    """Read the last events that were sent to a task, in their order."""
    return command("show_mailbox", rows_as(ShownEvent), task_id=task_id, limit=limit, longest=LONGEST)


def is_new_event(id: int) -> Command[bool]:
    """Read whether an event was stored by this transaction."""
    return command("is_new_event", value("is_new"), id=id)
