"""Ends tasks that no worker can start: what cannot be read, and what the database lets nobody claim."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from pgsched.domain.attempt import Claimed, Finish
from pgsched.domain.lifecycle import give_up
from pgsched.observability.logs import get_logger
from pgsched.worker.leased_tasks import Hold
from pgsched.worker.metrics import Tally

log = get_logger("pgsched.worker")


class Burials:
    """Lets such tasks be dead, counted and told like any other."""

    def __init__(
        self,
        *,
        put: Callable[[Hold, Finish], None],
        wrote: Callable[[Sequence[tuple[Hold, Finish]]], None],
        tally: Tally,
    ) -> None:
        """``put`` takes a finish that is to be written, ``wrote`` is told of what is."""
        self._put = put
        self._wrote = wrote
        self._tally = tally

    def spoiled(self, hold: Hold, problem: str) -> None:
        """A claimed row has a value that cannot be read."""
        task = hold.task
        log.error("task_unreadable", task_id=task.id, task_type=task.task_type, queue=task.queue, error=problem)
        self._put(hold, give_up(task, None, f"the task cannot be read: {problem}"))

    def unclaimed(self, task: Claimed, error: str) -> None:
        """A task was ended without a claim, and that is written; little is known of it."""
        log.error("claim_refused", task_id=task.id, task_type=task.task_type, queue=task.queue, error=error)
        self._tally.died_unrun(task)
        self._wrote([(Hold(task, 0.0, 0.0), give_up(task, None, error))])
