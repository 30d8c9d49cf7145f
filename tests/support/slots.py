"""Slots without a database: attempts run one after the other in one slot, or in several, and say how they ended."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from time import monotonic
from typing import Any, cast
from unittest.mock import Mock

from pgsched.domain.attempt import Outcome
from pgsched.execution.registry import Registry
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import Completer
from pgsched.worker.executor import Executor
from pgsched.worker.leased_tasks import END, LeasedTask, LeasedTasks
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.prefetch import Prefetch
from tests.support.attempts import Function
from tests.support.engine import PATIENCE, claimed
from tests.support.waiting import wait_until_async


class Bench:
    """Slots, and the outcomes of what ran in them, by the number of the attempt."""

    def __init__(self, slots: Executor, leased_tasks: LeasedTasks, ended: list[tuple[int, Outcome]]) -> None:
        self.executor = slots
        self.leased_tasks = leased_tasks
        self.ended = ended
        self._number = 0

    async def run(self, *task_types: str, **columns: Any) -> list[Outcome]:
        """Run one attempt at each, in this order; their outcomes in this order, when every slot is free again."""
        first = self._number + 1
        for task_type in task_types:
            self._number += 1
            task = claimed(id=self._number, task_type=task_type, **columns)
            self.leased_tasks.add([task], monotonic() + 1000, monotonic())
        self.executor.feed()
        await wait_until_async(
            lambda: not self.executor.running and not self.leased_tasks.waiting,
            timeout=PATIENCE,
            message="every slot is free",
        )
        outcomes = dict(self.ended)
        return [outcomes[number] for number in range(first, self._number + 1)]


@asynccontextmanager
async def bench(concurrency: int = 1, **handlers: Function) -> AsyncIterator[Bench]:
    """Open so many slots for these handlers."""
    registry = Registry()
    for task_type, function in handlers.items():
        registry.register(task_type, function)
    leased_tasks = LeasedTasks()
    ended: list[tuple[int, Outcome]] = []

    def conclude(leased: LeasedTask, outcome: Outcome) -> None:
        ended.append((leased.task.id, outcome))
        leased.move(END)
        leased_tasks.drop(leased)

    clock = DatabaseClock()
    clock.set(datetime.now(UTC), monotonic())
    slots = Executor(
        concurrency=concurrency,
        registry=registry,
        leased_tasks=leased_tasks,
        completer=cast("Completer", Mock(conclude=conclude)),
        prefetch=Prefetch(concurrency=concurrency, max_batch=100),
        clock=clock,
        counts=WorkerMetrics(slots=concurrency),
        attempts=Mock(),
        groups=Mock(),
        durable_runs=Mock(),
        on_room=lambda: None,
    )
    slots.start()
    try:
        yield Bench(slots, leased_tasks, ended)
    finally:
        await slots.drain(PATIENCE)
        slots.close()
