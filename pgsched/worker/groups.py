"""Groups: one claim creates the children, and a second one, when all have ended, collects their results."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Sessions
from pgsched.db.worker.workflows import join_group
from pgsched.domain.attempt import Claimed, Missed, Outcome
from pgsched.observability.logs import get_logger
from pgsched.worker.completer import Completer
from pgsched.worker.leased_tasks import ABANDON, BEGIN, LeasedTask, LeasedTasks
from pgsched.worker.loops import retry_until_success
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")


class Groups:
    """Runs claimed groups. They have no handler: the database creates the children and collects the results."""

    def __init__(
        self,
        *,
        worker: UUID,
        questions: Sessions,
        leased_tasks: LeasedTasks,
        completer: Completer,
        counts: WorkerMetrics,
        fire: Callable[[Sessions, UUID, Claimed, Sequence[Missed]], Awaitable[int | None]],
        on_due: Callable[[], None],
        on_end: Callable[[], object],
    ) -> None:
        """``fire`` creates the children; ``on_due`` is called afterwards because some are due, ``on_end`` when a row
        is no longer held.
        """
        self._worker = worker
        self._questions = questions
        self._leased = leased_tasks
        self._completer = completer
        self._counts = counts
        self._fire_group = fire
        self._on_due = on_due
        self._on_end = on_end

    async def run(self, leased: LeasedTask) -> None:
        """Fire or join a claimed group. Waits for the database."""
        leased.move(BEGIN)
        started = monotonic()
        try:
            if leased.task.fired:
                await self._join(leased)
            else:
                await self._fire(leased)
        except RefusedByDatabase as error:
            self._completer.conclude(leased, Outcome("discarded", started, monotonic(), error=str(error)))

    async def _fire(self, leased: LeasedTask) -> None:
        task = leased.task
        fire = partial(self._fire_group, self._questions, self._worker, task, leased.missed)
        children = await retry_until_success("groups", task, fire, self._counts)
        self._let_go(leased)
        if children is None:  # by another claim, or by the first of two attempts, whose answer was lost
            log.info("group_fired_before", task_id=task.id)
            return
        log.debug("group_fired", task_id=task.id, children=children)
        for missed in leased.missed:
            self._counts.missed(task, missed.reason, missed.ticks)
        self._on_due()

    async def _join(self, leased: LeasedTask) -> None:
        task = leased.task
        join = partial(join_group, self._questions, self._worker, task)
        joined = await retry_until_success("groups", task, join, self._counts)
        if joined is None:
            self._counts.fenced += 1
            log.warning("finish_fenced", count=1, hint="another claim took the group after its lease expired")
            self._let_go(leased)
            return
        now = monotonic()
        if joined.ok:
            outcome = Outcome("completed", now - joined.seconds, now, result=joined.result)
        else:
            outcome = Outcome("discarded", now - joined.seconds, now, error=joined.error)
        self._completer.conclude(leased, outcome)

    def _let_go(self, leased: LeasedTask) -> None:
        """Note that nothing is left to be written."""
        leased.move(ABANDON)
        self._leased.drop(leased)
        self._on_end()
