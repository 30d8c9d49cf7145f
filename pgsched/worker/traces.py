"""Tracing hooks of a worker that do nothing; :mod:`pgsched.worker.tracing` has those that trace.

The parts of a worker are built with these functions, so that without tracing no task checks whether it is traced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from prometheus_client import CollectorRegistry

from pgsched.db.session import Sessions
from pgsched.db.worker import workflows
from pgsched.domain.attempt import Claimed, Missed
from pgsched.execution.context import Context
from pgsched.execution.runner import run_attempt
from pgsched.worker.leased_tasks import LeasedTask, LeasedTasks
from pgsched.worker.metrics import WorkerMetrics

if TYPE_CHECKING:
    from pgsched.observability.tracing import Tracing


_NOTHING = nullcontext()


class Parts(NamedTuple):
    """The parts of a worker that its spans need."""

    worker: str
    leased_tasks: LeasedTasks
    questions: Sessions
    metrics: CollectorRegistry
    context_of: Callable[[LeasedTask], Context]
    """Returns the context of an attempt, created if its handler did not ask for one."""


class Traces:
    """A worker without tracing."""

    on = False
    """Whether there are spans."""

    run_attempt = staticmethod(run_attempt)
    """Runs one attempt."""

    def counts(self, slots: int) -> WorkerMetrics:
        """What counts."""
        return WorkerMetrics(slots=slots)

    async def fire_group(self, sessions: Sessions, worker: UUID, task: Claimed, missed: Sequence[Missed]) -> int | None:
        """Create the children of a group."""
        return await workflows.fire_group(sessions, worker, task, missed)

    def step(self, name: str) -> AbstractContextManager[object]:  # noqa: ARG002
        """Return the context manager around the function that a step of a durable run calls."""
        return _NOTHING

    def watch(self, parts: Parts) -> None:
        """Receive the worker's other parts, once they exist."""


def load_traces(tracing: Tracing | None) -> Traces:
    """Return the tracing hooks for an application; None loads nothing of OpenTelemetry."""
    if tracing is None:
        return Traces()
    from pgsched.worker.tracing import WorkerTracing

    return WorkerTracing(tracing)
