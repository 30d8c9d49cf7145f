"""What happened to a task, in the form that other programs are notified of, and the hooks of an application for it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, TypeVar

from pgsched.domain.attempt import Claimed, Finish
from pgsched.domain.errors import RegistrationError

EVENTS = ("started", "completed", "failed", "dead")
"""The events that hooks can subscribe to. Other programs are notified of all but the first, and of ``cancelled``."""
MAX_ERROR_TOLD = 500
"""Maximum length of an error's first line in a notification: NOTIFY carries less than 8,000 bytes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Something that happened to a task."""

    event: str
    """``started``, ``completed``, ``failed`` (another attempt follows) or ``dead``; other programs are also notified of
    ``cancelled``."""
    id: int
    task_type: str
    queue: str
    attempt: int
    """The number of the attempt at the tick, from 1."""
    error: str | None = None
    """Why the attempt failed; None otherwise."""
    result: Any = None
    """The return value of the handler, in hooks of ``completed``."""
    duration: float | None = None
    """Duration of the attempt in seconds; None before it ended."""
    at: datetime
    """The time of the event by the database's clock."""

    def announcement(self) -> str:
        """Return the event as JSON for other programs: no result, one short line of the error (called by pgsched)."""
        error = None if self.error is None else self.error.split("\n", 1)[0][:MAX_ERROR_TOLD]
        return json.dumps(
            {
                "event": self.event,
                "id": self.id,
                "task_type": self.task_type,
                "queue": self.queue,
                "attempt": self.attempt,
                "at": self.at.astimezone(UTC).isoformat().replace("+00:00", "Z"),
                "duration": None if self.duration is None else round(self.duration, 6),
                "error": error,
            },
            ensure_ascii=False,
        )


def name_of(finish: Finish) -> str | None:
    """Return the event that a finish amounts to; None when nothing ran, or it was snoozed, and nothing died."""
    if finish.dead_lettered or finish.next_status == "dead":
        return "dead"
    if finish.execution in (None, "snoozed"):
        return None
    if finish.execution == "cancelled":  # it expired
        return "cancelled"
    return "completed" if finish.execution == "completed" else "failed"


def event_of(task: Claimed, finish: Finish, at: datetime, *, with_result: bool = False) -> Event | None:
    """Return the event that a finish of ``task`` amounts to, or None; ``at`` is when it ended."""
    name = name_of(finish)
    if name is None:
        return None
    return Event(
        event=name,
        id=task.id,
        task_type=task.task_type,
        queue=task.queue,
        attempt=task.attempts,
        error=finish.error,
        result=json.loads(finish.result) if with_result and finish.result is not None else None,
        duration=None if finish.execution is None else finish.finished - finish.started,
        at=at,
    )


Hook = TypeVar("Hook", bound=Callable[[Event], Any])


class Hooks:
    """The hooks of one application, by event."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Callable[[Event], Any]]] = {}
        self._included_in: Hooks | None = None

    def add(self, event: str, function: Callable[[Event], Any]) -> None:
        """Call ``function`` at every such event. Raises RegistrationError when no event has that name."""
        if event not in EVENTS:
            raise RegistrationError(f"event must be {', '.join(EVENTS[:-1])} or {EVENTS[-1]}, got {event!r:.100}")
        hooks: Hooks | None = self
        while hooks is not None:
            hooks._hooks.setdefault(event, []).append(function)
            hooks = hooks._included_in

    def include(self, other: Hooks) -> None:
        """Also call the hooks of another application part, including those added later."""
        for event, functions in other._hooks.items():
            for function in functions:
                self.add(event, function)
        other._included_in = self

    def of(self, event: str) -> list[Callable[[Event], Any]]:
        """Return the functions for an event, in the order in which they were added."""
        return self._hooks.get(event, [])

    def __bool__(self) -> bool:
        return bool(self._hooks)
