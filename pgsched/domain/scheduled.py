"""The id of a task that was scheduled, and what became of it; the same of ticks that were run afterwards."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Literal, Self, get_args

from pgsched.domain.records import Record
from pgsched.domain.validation import one_of

OnConflict = Literal["return", "keep", "update", "replace", "raise"]
"""What becomes of the task that has the ``idempotency_key``.

``return`` (or ``keep``): it stays as it is. ``update``: it is changed to what is given. ``replace``: it is cancelled if
it is not over, gives up the key, and a new one is made; refused while it runs. ``raise``: KeyTaken is raised.
"""
_on_conflict = one_of(*get_args(OnConflict))


class Scheduled(int):
    """The id of a task, which also says what became of it."""

    outcome: str | None
    """``created``, ``existing``, ``updated``, ``unchanged`` or ``replaced``; None where nobody could ask: of a key on a
    connection that is not psycopg's."""
    differs: tuple[str, ...]
    """Of an ``existing`` task: the options that were given and that it has otherwise, but for a ``delay``."""
    warnings: tuple[str, ...]
    """What the database says of it: that its type is not registered."""

    def __new__(
        cls, id: int, outcome: str | None = None, warnings: Iterable[str] = (), differs: Iterable[str] = ()
    ) -> Self:
        """Say of the task ``id`` what became of it."""
        made = super().__new__(cls, id)
        made.outcome = outcome
        made.differs = tuple(differs)
        made.warnings = tuple(warnings)
        return made


def conflict_rule(on_conflict: str) -> str:
    """Return what becomes of a known task; ``return`` for ``keep``. Raises InvalidTask for a word that is none."""
    rule = str(_on_conflict("on_conflict", on_conflict))
    return "return" if rule == "keep" else rule


@dataclass(frozen=True, slots=True, kw_only=True)
class BackfillTick(Record):
    """A tick in the range of a backfill."""

    tick: datetime
    """Its nominal time."""
    task_id: int | None
    """The task that runs it, or ran it; None for one that a dry run would make."""
    outcome: str
    """``run``: it is to run; ``ran``: it did before; ``booked``: the schedule is still to run it by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedTick(Record):
    """A tick that was skipped."""

    tick: datetime
    """Its nominal time."""
    next_tick: datetime | None
    """The tick that is booked instead; None: the schedule is over."""
