"""Runs one handler without a database: its context is real, but not connected to one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import monotonic
from types import SimpleNamespace
from typing import Any, NamedTuple, cast

from pgsched.app.task_handle import TaskHandle
from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.about import About, manual_key
from pgsched.domain.attempt import Claimed, Outcome
from pgsched.domain.dependency_results import Results
from pgsched.domain.errors import PayloadMismatch
from pgsched.domain.storable import storable_json
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.context import Context
from pgsched.execution.gatherer import gathering
from pgsched.execution.handler import Handler
from pgsched.execution.middleware import equip
from pgsched.execution.runner import run_attempt
from pgsched.execution.state import Lifespan
from pgsched.execution.surroundings import Surroundings
from pgsched.testing.handlers import noted
from pgsched.testing.loops import without_loop
from pgsched.testing.outcomes import NotCompleted
from pgsched.worker.lifespans import Lifespans


class Said(NamedTuple):
    """A line that a handler logged."""

    level: str
    message: str
    fields: dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Called:
    """The result of one call of a handler."""

    outcome: str
    """``completed``, ``failed``, ``timed_out``, ``discarded`` or ``snoozed``."""
    result: Any
    """The returned value, as JSON."""
    error: str | None = None
    exception: BaseException | None = None
    """The exception that it raised."""
    retry_delay: float | None = None
    """Seconds, from ``Retry`` or ``Snooze``, or by the type of the exception."""
    logs: list[Said] = field(default_factory=list)
    """Lines that it logged with ``ctx.log``."""
    progress: list[Any] = field(default_factory=list)
    """Every value that it reported with ``ctx.progress``."""
    steps: list[dict[str, Any]] = field(default_factory=list)
    """Steps that it added to its group with ``ctx.add_steps``; empty unless the attempt completed."""


class _Recording(Context):
    """A context that collects what a worker would write."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(**facts)
        self.shown: list[Any] = []

    def progress(self, value: Any) -> None:
        """Record the progress of the attempt."""
        super().progress(value)
        self.shown.append(json.loads(storable_json(value, 2**31)))


async def call_async(
    task: TaskHandle[..., Any],
    payload: Mapping[str, Any] | None = None,
    *,
    attempt: int = 1,
    max_attempts: int | None = None,
    scheduled_for: datetime | None = None,
    tick_number: int = 1,
    name: str | None = None,
    tags: Sequence[str] = (),
    metadata: Mapping[str, Any] | None = None,
    tenant_id: str | None = None,
    user_id: str | None = None,
    created_by: str | None = None,
    key: str | None = None,
    parent_id: int | None = None,
    run_by: str | None = None,
    is_catchup: bool = False,
    timeout: float | None = None,
    dependencies: Mapping[str, Any] | None = None,
    connection: object = None,
    state: object = None,
    raises: bool = True,
) -> Called:
    """Run a handler with a payload, as an attempt by a worker would, but without any database.

    The payload is converted to JSON (InvalidTask says why it cannot be) and validated against the signature. The
    context has the given ``attempt``, ``scheduled_for`` (the machine's time if omitted) and so on; with ``run_by`` it
    is a copy that a user runs manually. ``dependencies`` are results by name, ``connection`` is the connection of a
    transactional handler. The app's middleware wraps the handler, and its lifespans are opened for a handler that takes
    a context; ``state`` replaces what they yield. Exceptions of the handler are raised, including Retry and Discard,
    unless ``raises`` is False. Raises NotCompleted at a timeout and for an invalid payload or result, and
    LifespanFailed. ``call`` is for tests without an event loop, and raises RuntimeError inside one.
    """
    raised: list[BaseException] = []
    surroundings = task.surroundings()
    handler = equip(noted(task.handler, raised.append), surroundings.middleware_of(task.task_type))
    handler = gathering(handler, 1)
    now = scheduled_for or datetime.now(UTC)
    most = max_attempts if max_attempts is not None else max(handler.options.get("max_attempts", 3), attempt)
    if run_by is not None:
        parent_id = 1 if parent_id is None else parent_id
        key, created_by = manual_key(parent_id, 1), run_by
    about = About(name, tuple(tags), dict(metadata or {}), tenant_id, user_id, created_by, key, parent_id)
    # Only the fields of a claimed row that a context reads.
    row = SimpleNamespace(
        id=1,
        task_type=handler.task_type,
        queue=handler.options.get("queue", "default"),
        attempts=attempt,
        max_attempts=most,
        scheduled_for=now,
        next_run_at=now,
        fencing_token=attempt,
        execution_count=tick_number - 1,
        about=json.dumps(about),
    )
    context = _Recording(
        task=cast("Claimed", row),
        clock=monotonic,
        now=lambda: now,
        deadline=None if timeout is None else monotonic() + timeout,
        is_catchup=is_catchup,
    )
    results = [(number, name, value) for number, (name, value) in enumerate((dependencies or {}).items(), 1)]
    context.equip(connection, Results(results))
    outcomes: list[Outcome] = []
    threads: Threads[Outcome] = Threads(limit=1, name="pgsched handler")
    lifespans = _lifespans(handler, surroundings, state)
    await lifespans.open()
    if lifespans.state is not None:
        context.share(lifespans.state)
    try:
        encoded = handler.encode(payload or {})
        given = json.loads(TaskSpec(task_type=handler.task_type, payload=encoded).arguments()["payload"])
        # In a task of its own, as in a worker: what the handler does to its task must not affect the test's.
        await asyncio.create_task(
            run_attempt(handler, given, context, timeout=timeout, threads=threads, report=outcomes.append),
            name="pgsched attempt",
        )
    except PayloadMismatch as error:  # a worker's attempt would report the same
        outcomes.append(Outcome("discarded", monotonic(), monotonic(), error=str(error)))
    finally:
        threads.close()
        await lifespans.close()
    (outcome,) = outcomes
    if raises and outcome.status != "completed":
        raise raised[0] if raised else NotCompleted(f"{handler.task_type}: {outcome.error}")
    if outcome.warning is not None:
        context.log(outcome.warning, "warning")
    _, lines = context.take_report()
    return Called(
        outcome=outcome.status,
        result=None if outcome.result is None else json.loads(outcome.result),
        error=outcome.error,
        exception=raised[0] if raised else None,
        retry_delay=outcome.retry_delay,
        logs=[Said(line.level, line.message, json.loads(line.fields or "{}")) for line in lines],
        progress=context.shown,
        steps=(context.added_steps or []) if outcome.status == "completed" else [],
    )


call = without_loop(call_async)


def _lifespans(handler: Handler, surroundings: Surroundings, state: object) -> Lifespans:
    """Return a context manager for the context's state: the test's value, or the application's lifespans."""

    @asynccontextmanager
    async def given() -> AsyncIterator[object]:
        yield state

    opened: tuple[Lifespan, ...] = ()
    if handler.needs_context:
        opened = surroundings.lifespans if state is None else (given,)
    return Lifespans(opened, on_lost=lambda _failure: None)
