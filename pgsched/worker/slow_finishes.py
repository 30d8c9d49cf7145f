"""Writes finishes whose statement takes longer than the worker's limit: one at a time, with a growing limit."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import SilentDatabase
from pgsched.db.session import Session
from pgsched.db.worker.leases import extend_lease
from pgsched.domain.attempt import Finish
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.loops import own_task

LONGEST_LIMIT = 600.0
"""Seconds that the statement of one finish may take at most; a longer limit of the worker holds instead."""
SLOW_LOCK_SECONDS = 5.0
"""How long it waits for a row that another session has locked: nothing else waits behind it."""

Ended = tuple[LeasedTask, Finish]


class SlowFinishes:
    """Finishes that were not written within the limit, such as the end of a task with very many dependents.

    They have a session of their own, so that the others are written meanwhile. Each attempt at one has twice the time
    of the attempt before. The heartbeat passes over a row that a statement has locked, so the lease is extended before.
    """

    def __init__(
        self,
        *,
        session: Session,
        worker: UUID,
        lease: float,
        write: Callable[[Ended, Session], Awaitable[None]],
        failed: Callable[[Ended, Exception], None],
        tried: Callable[[], None],
    ) -> None:
        """``write`` writes one finish by a session; ``failed`` is called when that raised, ``tried`` after each one."""
        self._session = session
        self._worker = worker
        self._lease = lease
        self._write = write
        self._failed = failed
        self._tried = tried
        self.usual_limit = session.timeout
        """Seconds that a finish has before it is one of these."""
        self._limits: dict[int, float] = {}
        """The limit of the next attempt, by task."""
        self._queue: deque[Ended] = deque()
        self._task: asyncio.Task[None] | None = None

    def __contains__(self, task_id: int) -> bool:
        return task_id in self._limits

    @property
    def busy(self) -> bool:
        """Whether there is something to write now."""
        return bool(self._queue)

    def add(self, task_id: int) -> None:
        """Note that a finish was not written within the limit."""
        self._limits[task_id] = self._next(self._limits.get(task_id, self.usual_limit))

    def forget(self, task_id: int) -> None:
        """Note that a finish was written, or need not be."""
        self._limits.pop(task_id, None)

    def retry(self, one: Ended) -> None:
        """Write a finish soon, after those before it."""
        if not any(queued[0] is one[0] for queued in self._queue):
            self._queue.append(one)
        if self._task is None or self._task.done():
            self._task = own_task(self._write_queued(), name="pgsched slow finish")

    async def close(self) -> None:
        """End the attempt under way and close the session."""
        self._queue.clear()
        if self._task is not None and not self._task.done():
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._session.close()

    def _next(self, limit: float) -> float:
        return min(2 * limit, max(LONGEST_LIMIT, self.usual_limit))

    async def _write_queued(self) -> None:
        while self._queue:
            one = self._queue[0]
            try:
                await self._try(one)
            except Exception as error:  # noqa: BLE001 - whatever it is, it is about this finish
                if isinstance(error, SilentDatabase):
                    self.add(one[1].id)
                self._failed(one, error)
            finally:
                if self._queue:
                    self._queue.popleft()
            self._tried()
        await self._session.close()

    async def _try(self, one: Ended) -> None:
        leased, finish = one
        if leased.abandoned:
            raise DatabaseUnavailable("another claim has taken the task")
        limit = self._session.timeout = self._limits.get(finish.id, self.usual_limit)
        sent, seconds = monotonic(), limit + self._lease
        await extend_lease(self._session, self._worker, leased.task, seconds)
        leased.leased_until = sent + seconds  # so that no heartbeat shortens it
        await self._write(one, self._session)
