"""Checks whether the payloads of waiting tasks fit the handlers of an application, before it is deployed."""

from __future__ import annotations

from collections.abc import Collection, Generator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pgsched.db.queries.waiting import WaitingPage, WaitingTask, find_waiting
from pgsched.db.query import Command
from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import PayloadMismatch
from pgsched.domain.records import Record
from pgsched.domain.storable import text_of
from pgsched.domain.validation import whole
from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry

MAX_NAMED: Final = 10_000
"""Maximum number of misfits to name."""
_limit = whole(1, MAX_NAMED)
_LOWEST: Final = -(2**63)


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMisfit(Record):
    """A waiting task whose payload does not fit."""

    id: int
    task_type: str
    """For a group step that has not started: the type of the step."""
    queue: str
    status: str
    schedule_type: str
    fault: str
    """What does not fit, by its path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnknownWaiting(Record):
    """A type of waiting tasks without a handler."""

    task_type: str
    tasks: int
    first_id: int
    """The first such tasks."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PayloadCheck(Record):
    """The result of checking the waiting tasks."""

    checked: int
    """Number of tasks checked."""
    misfits: int
    """Payloads that do not fit, up to the limit."""
    named: list[WaitingMisfit]
    """Ordered by id."""
    unknown: list[UnknownWaiting]
    """Types without a handler, ordered by name."""

    @property
    def fits(self) -> bool:
        """Whether the application can run all waiting tasks."""
        return not self.misfits and not self.unknown


Asking = Generator[Command[WaitingPage], WaitingPage, PayloadCheck]
"""Yields queries, is sent the answers, and returns the result."""


def checking(registries: Sequence[Registry], *, limit: int, others: Collection[str] = ()) -> Asking:
    """Check all waiting tasks, a page at a time; ``others`` are types that other programs have handlers for.

    A payload has to fit the handler of the first application that has its type. Raises InvalidTask for an invalid
    limit.
    """
    _limit("limit", limit)
    looked, faults = 0, 0
    named: list[WaitingMisfit] = []
    unknown: dict[str, tuple[int, int]] = {}
    after: int | None = _LOWEST
    while after is not None:
        page = yield find_waiting(after)
        after = page.next_after
        looked += len(page.tasks)
        for task in page.tasks:
            for task_type, payload, where in _runs(task):
                handler = _handler(registries, task_type)
                if handler is None:
                    if task_type not in others and not task_type.startswith("pgsched."):
                        number, first = unknown.get(task_type, (0, task.id))
                        unknown[task_type] = number + 1, first
                elif (fault := _fault(handler, payload)) is not None:
                    faults += 1
                    if len(named) < limit:
                        named.append(_misfit(task, task_type, where + fault))
    return PayloadCheck(
        checked=looked,
        misfits=faults,
        named=named,
        unknown=[
            UnknownWaiting(task_type=name, tasks=number, first_id=first)
            for name, (number, first) in sorted(unknown.items())
        ],
    )


def _handler(registries: Sequence[Registry], task_type: str) -> Handler | None:
    return next((found for one in registries if (found := one.get(task_type)) is not None), None)


def _misfit(task: WaitingTask, task_type: str, fault: str) -> WaitingMisfit:
    return WaitingMisfit(
        id=task.id,
        task_type=task_type,
        queue=task.queue,
        status=task.status,
        schedule_type=task.schedule_type,
        fault=fault,
    )


def _runs(task: WaitingTask) -> list[tuple[str, dict[str, Any], str]]:
    """Yield each handler call of a task: type, payload and location; for a group, one call per step."""
    if task.task_type != GROUP:
        return [(task.task_type, task.payload, "")]
    return [] if task.fired else _steps(task.payload, "")


def _steps(group: dict[str, Any], where: str) -> list[tuple[str, dict[str, Any], str]]:
    found: list[tuple[str, dict[str, Any], str]] = []
    for step in group.get("steps", ()):
        task_type, payload = step["task_type"], step.get("payload", {})
        place = f"{where}step {step.get('name', task_type)!r}: "
        found += _steps(payload, place) if task_type == GROUP else [(task_type, payload, place)]
    return found


def _fault(handler: Handler, payload: dict[str, Any]) -> str | None:
    """Return what does not fit; None when everything does."""
    try:
        handler.check(payload)
        if handler.types is not None:
            handler.types.arguments(payload)
    except PayloadMismatch as error:
        return str(error).partition(f"handler {handler.task_type!r}: ")[2]
    except Exception as error:  # noqa: BLE001 - a user's validator may raise anything
        return f"a validator raised {type(error).__name__}: {text_of(error)}".split("\n", 1)[0]
    return None
