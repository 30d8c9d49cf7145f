"""A child of ``--processes`` in the test's own process."""

from __future__ import annotations

from multiprocessing import Pipe, current_process

from prometheus_client import CollectorRegistry

from pgsched.domain.attempt import Finish, Outcome
from pgsched.worker.children import Child, ControlServer
from pgsched.worker.metrics import WorkerMetrics
from tests.support.engine import claimed


class WorkerChild:
    """A child whose metrics the test moves."""

    def __init__(self, before: Child | None = None, *, slots: int = 5) -> None:
        ours, self._theirs = Pipe()
        self.counts = WorkerMetrics(slots=slots)
        registry = CollectorRegistry()
        registry.register(self.counts)
        self.child = Child(current_process(), ours, before=before.retire() if before else ())
        ControlServer(
            pipe=self._theirs,
            metrics=registry,
            healthy=_well,
            ready=_well,
            troubles=list,
            alive=_well,
            load=lambda: (0, 0),
            on_orphaned=lambda: None,
        ).start()

    def execute(self, times: int) -> None:
        for _ in range(times):
            self.counts.execution(
                claimed(),
                Outcome("completed", started=1.0, finished=1.5),
                Finish(1, 1, "completed", execution="completed"),
            )


def _well() -> None:
    return None
