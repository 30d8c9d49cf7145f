"""The ids of scheduled tasks and the outcome of scheduling them; the same for ticks that were run afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, get_args

from pgsched.domain.records import Record
from pgsched.domain.validation import one_of

OnConflict = Literal["return", "keep", "update", "replace", "raise"]
"""What happens to the task that already uses the ``idempotency_key``.

``return`` (or ``keep``) leaves it unchanged. ``update`` changes it to the given values. ``replace`` cancels it unless
it has ended, frees the key and creates a new task; it is rejected while the task runs. ``raise`` raises KeyTaken.
"""
_on_conflict = one_of(*get_args(OnConflict))


class Scheduled(int):
    """The id of a task, with the outcome of scheduling it."""

    outcome: str | None
    """``created``, ``existing``, ``updated``, ``unchanged`` or ``replaced``; None when it is unknown: with a key, on a
    connection that is not psycopg's."""
    differs: tuple[str, ...]
    """For an ``existing`` task: the given options whose values differ from the task's, except for a ``delay``."""
    warnings: tuple[str, ...]
    """A message of the database about it: its type is not registered."""

    def __new__(
        cls, id: int, outcome: str | None = None, warnings: Iterable[str] = (), differs: Iterable[str] = ()
    ) -> Self:
        """Set the outcome for the task ``id``."""
        made = super().__new__(cls, id)
        made.outcome = outcome
        made.differs = tuple(differs)
        made.warnings = tuple(warnings)
        return made


def conflict_rule(on_conflict: str) -> str:
    """Return what happens to an existing task, ``return`` for ``keep``. Raises InvalidTask for an unknown word."""
    rule = str(_on_conflict("on_conflict", on_conflict))
    return "return" if rule == "keep" else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillTick(Record):
    """A tick in the range of a backfill."""

    tick: datetime
    """Its nominal time."""
    task_id: int | None
    """The task that runs it or ran it; None for one that a dry run would create."""
    outcome: str
    """``run``: it will run; ``ran``: it ran before; ``booked``: the schedule itself will still run it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTick(Record):
    """A tick that was skipped."""

    tick: datetime
    """Its nominal time."""
    next_tick: datetime | None
    """The tick that is scheduled instead; None when the schedule is over."""
