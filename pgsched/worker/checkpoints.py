"""Writes the records of durable runs; those that arrive during a write share the next transaction."""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import is_passing
from pgsched.db.session import Session
from pgsched.db.worker.durable import write_records
from pgsched.domain.durable import Record, RunId
from pgsched.domain.errors import DatabaseUnavailable, DurableError
from pgsched.observability.logs import get_logger
from pgsched.worker.halves import in_halves
from pgsched.worker.loops import FIRST_PAUSE, LONGEST_PAUSE, next_pause, own_task
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

MAX_RECORDS = 1_000
"""Maximum number of records in one statement."""
MAX_BYTES = 16 * 1024 * 1024
"""Maximum size of the results in one statement."""


class _Item:
    """Records that are written together, or not at all."""

    __slots__ = ("bytes", "records", "written")

    def __init__(self, records: Sequence[Record], written: asyncio.Future[None]) -> None:
        self.records = records
        self.written = written
        self.bytes = sum(len(one.step.result or "") for one in records)


class Checkpointer:
    """One connection for the records of all runs of a worker."""

    def __init__(
        self, *, session: Session, worker: UUID, counts: WorkerMetrics, on_lost: Callable[[RunId], None]
    ) -> None:
        """``on_lost`` is called with a run when the fence rejected one of its records."""
        self._session = session
        self._worker = worker
        self._counts = counts
        self._on_lost = on_lost
        self._pending: deque[_Item] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def write(self, records: Sequence[Record]) -> None:
        """Write records; waits for the database for as long as it takes. Cancelled when the claim was lost.

        Raises DurableError for records that the database rejects.
        """
        item = _Item(records, asyncio.get_running_loop().create_future())
        self._pending.append(item)
        if self._writing is None or self._writing.done():
            self._writing = own_task(self._write_all(), name="pgsched checkpoints")
        await item.written

    async def close(self) -> None:
        """Write no further records."""
        if self._writing is not None:
            self._writing.cancel()
        await self._session.close()

    async def _write_all(self) -> None:
        pause = FIRST_PAUSE
        while batch := self._next_batch():
            began = monotonic()
            try:
                refused = await in_halves(batch, self._write)
            except DatabaseUnavailable as error:
                self._counts.database_errors += 1
                log.warning("database_error", loop="checkpoints", error=str(error), again_in=round(pause, 1))
                refused = []
            except Exception:
                log.exception("checkpoints_failed")
                refused = []
            else:
                pause = FIRST_PAUSE
            for item, why in refused:
                if not is_passing(why) and not item.written.done():
                    item.written.set_exception(DurableError(f"the step cannot be recorded: {why}"))
            left = [item for item in batch if not item.written.done()]
            self._pending.extendleft(reversed(left))
            if left and monotonic() - began < LONGEST_PAUSE:
                await asyncio.sleep(pause * random.uniform(0.5, 1.0))  # noqa: S311
                pause = next_pause(pause)

    def _next_batch(self) -> list[_Item]:
        batch: list[_Item] = []
        number = size = 0
        while self._pending:
            item = self._pending[0]
            if not item.written.done():  # otherwise its attempt has ended
                number += len(item.records)
                size += item.bytes
                if batch and (number > MAX_RECORDS or size > MAX_BYTES):
                    break
                batch.append(item)
            self._pending.popleft()
        return batch

    async def _write(self, items: Sequence[_Item]) -> None:
        records = [record for item in items for record in item.records]
        places = await write_records(self._session, self._worker, records)
        at = 0
        for item in items:
            passed = all(place in places for place in range(at, at + len(item.records)))
            at += len(item.records)
            if item.written.done():
                continue
            if passed:
                item.written.set_result(None)
            else:
                item.written.cancel()
                self._on_lost(item.records[0].run)
