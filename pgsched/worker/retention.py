"""Deletes old finished tasks, in one worker at a time, from its own thread and connection.

The holder of the lock named below does it for as long as it lives; the others check now and then whether the lock is
free. Where no setting deletes anything, a check is one small query.
"""

from __future__ import annotations

import random
import threading
from functools import partial
from time import monotonic

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.queries import locks as lock_commands
from pgsched.db.retention import Batch, RetentionStore
from pgsched.db.worker.leases import Identity
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import Pruned
from pgsched.observability.logs import get_logger
from pgsched.ops.retention import WORKER_SHARE, Pruner
from pgsched.worker.loops import Loop
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

LOCK = "pgsched.retention"
LOCK_SECONDS = 120.0
"""How long the worker that deletes may be silent before another takes its place."""
RENEW_SECONDS = 20.0
"""How often it reports that it is alive while it deletes."""
FIRST_SECONDS = 2.0
"""A worker that has just started has more urgent work."""
EVERY_SECONDS = 90.0
"""How often a worker checks whether there is anything for it to do."""
SELDOM_SECONDS = 10.0
"""How often the one that deletes checks when there is little."""
MOST_SHARE = 0.6
"""The share of time that deleting may take when a smaller one would let the tables grow."""
FASTER = 1.5
"""The factor by which the share grows when a run takes longer than its tasks took to accumulate."""
WORTH_WHILE = 20_000
"""Number of tasks that a run should find where tasks end fast."""
STOP_SECONDS = 1.0
"""How long a stopping worker waits for a batch in progress, which commits or rolls back by itself."""


def pause_after(tasks: int, seconds: float) -> float:
    """Return when to run again after a run that deleted ``tasks`` that had ended within ``seconds``."""
    return min(max(WORTH_WHILE * seconds / max(tasks, 1), 1.0), SELDOM_SECONDS)


def next_share(share: float, *, took: float, since: float) -> float:
    """Return the share of the next run after one of ``took`` seconds deleted what had ended in ``since`` seconds.

    A backlog is deleted slowly, however long it is. Tasks that end faster than they are deleted are not a backlog: the
    share grows.
    """
    if took > 0.8 * since:
        return min(share * FASTER, MOST_SHARE)
    if took < 0.3 * since:
        return max(share / FASTER, WORKER_SHARE)
    return share


class Retention:
    """The part of one worker."""

    def __init__(self, *, dsn: str, identity: Identity, counts: WorkerMetrics, loop: Loop) -> None:
        self._worker = identity.id
        self._holder = f"{identity.hostname} {identity.pid}"
        self._counts = counts
        self._loop = loop
        self._store = RetentionStore(dsn)
        self._leased = False
        self._share = WORKER_SHARE
        self._renew_at = 0.0
        self._told: tuple[str | None, ...] = (None,)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="pgsched-retention", daemon=True)

    @property
    def running(self) -> bool:
        """Whether its thread runs."""
        return self._thread.is_alive()

    def start(self) -> None:
        """Start."""
        self._thread.start()

    async def close(self) -> None:
        """End the thread and release the lock."""
        self._stop.set()
        if self.running:
            await in_thread(partial(self._thread.join, STOP_SECONDS), name="pgsched end")

    def run_once(self) -> Pruned | None:
        """Delete what has expired, if it is this worker's turn; None if it is not. Raises PgschedError."""
        if not self._store.wanted():
            self.give_back()
            return None
        if not self._lock():
            return None
        pruner = Pruner(store=self._store, wait=self._wait, share=self._share, patient=False, on_batch=self._count)
        return pruner.run()

    def _run(self) -> None:
        pause, looked_at = FIRST_SECONDS, monotonic()
        while not self._stop.wait(pause * random.uniform(0.8, 1.2)):  # noqa: S311 - not all at once
            since, looked_at = monotonic() - looked_at, monotonic()
            pause = EVERY_SECONDS
            try:
                done = self.run_once()
                self._loop.worked()
                if done is not None:
                    self._share = next_share(self._share, took=monotonic() - looked_at, since=since)
                    tasks = sum(one.completed + one.cancelled + one.dead for one in done.queues)
                    pause = EVERY_SECONDS if done.kept and not tasks else pause_after(tasks, since)
                    log.debug("pruned", tasks=tasks, history=done.history)
                    self._tell(done)
            except PgschedError as error:
                log.warning("prune_failed", error=str(error))
                self._loop.failed(error)
                pause = SELDOM_SECONDS
            except Exception as error:
                log.exception("prune_failed")
                self._loop.failed(error)
                pause = SELDOM_SECONDS
            if not self._leased:
                self.disconnect()
        try:
            self.give_back()
        except PgschedError as error:
            log.info("retention_lock_kept", error=str(error))  # its time runs out
        self.disconnect()

    def disconnect(self) -> None:
        """Close the connection until the next check."""
        try:
            self._store.close()
        except Exception:
            log.exception("prune_failed")

    def _wait(self, seconds: float) -> bool:
        """Pause; returns whether to stop, because this worker does or because another took its place."""
        if self._stop.wait(seconds):
            return True
        return monotonic() >= self._renew_at and not self._lock()

    def _lock(self) -> bool:
        token = self._store.run(lock_commands.acquire(LOCK, self._worker, ttl=LOCK_SECONDS, holder=self._holder))
        self._leased = token is not None
        self._renew_at = monotonic() + RENEW_SECONDS
        return self._leased

    def give_back(self) -> None:
        """Let another worker delete."""
        if self._leased:
            self._leased = False
            self._store.run(lock_commands.release(LOCK, self._worker))

    def _tell(self, done: Pruned) -> None:
        """Log once which of the users' objects prevent deletion."""
        kept = (done.kept_by, *done.history_kept)
        if kept != self._told and any(kept):
            log.warning("prune_kept", tasks=done.kept, by=done.kept_by, history=done.history_kept)
        self._told = kept

    def _count(self, queue: str, batch: Batch) -> None:
        self._counts.prune(queue, completed=batch.completed, cancelled=batch.cancelled, dead=batch.dead)
