"""Outcomes of the attempts that a test made, and how a failure is raised."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from pgsched.domain.attempt import Claimed, Finish


class NotCompleted(AssertionError):
    """An attempt failed without an exception of the handler: a timeout, an invalid payload."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One attempt, as recorded in the history."""

    id: int
    task_type: str
    queue: str
    payload: dict[str, Any] = field(repr=False)
    attempt: int
    scheduled_for: datetime | None
    """The tick it ran for."""
    outcome: str
    """``completed``; ``failed`` or ``timed_out`` when another attempt follows; ``dead`` when none does; ``snoozed``;
    ``suspended`` for a durable run that continues later."""
    result: Any = None
    error: str | None = None
    """As in ``last_error``."""
    exception: BaseException | None = None
    """The handler's exception."""

    def __str__(self) -> str:
        """One line."""
        return f"task {self.id} ({self.task_type}), attempt {self.attempt}: {self.outcome}"


def ran(task: Claimed, finish: Finish, exception: BaseException | None) -> Ran | None:
    """Return the outcome of a finish; None without an attempt: a tick was planned or skipped, or the task expired."""
    dead = finish.dead_lettered or finish.next_status == "dead"
    suspended = finish.suspension is not None
    if finish.execution in (None, "cancelled") and not (dead or suspended):
        return None
    return Ran(
        id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        payload=task.payload,
        attempt=task.attempts,
        scheduled_for=finish.tick,
        outcome="dead" if dead else "suspended" if suspended else str(finish.execution),
        result=None if finish.result is None else json.loads(finish.result),
        error=finish.error,
        exception=None if suspended else exception,
    )


def raise_first(attempts: Sequence[Ran]) -> None:
    """Raise the exception of the first failed attempt, with a note about all of them."""
    bad = [one for one in attempts if one.outcome not in ("completed", "snoozed", "suspended")]
    if not bad:
        return
    first = bad[0]
    error = first.exception
    if error is None:
        error = NotCompleted(f"{first}: {(first.error or '').partition(chr(10))[0]}")
    for one in bad:
        error.add_note(f"pgsched: {one}")
    raise error
