"""Runs background changes to many tasks in batches; they can be undone, stopped and resumed.

A batch, its entry in the audit log and the progress of the change are one transaction, so another dashboard process can
take over after a crash exactly there. Open changes are in the table: nothing is lost with the browser or the server.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import Final
from uuid import uuid4

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries import bulk_changes as commands
from pgsched.db.queries.audit import add_entry
from pgsched.db.queries.task_search import change_tasks, find_ids
from pgsched.domain.bulk_changes import without_secrets
from pgsched.domain.errors import DatabaseUnavailable, PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.web")

BATCH: Final = 500
"""Tasks per transaction: a stop waits for at most one of them."""
LOOK_SECONDS: Final = 60.0
"""Interval of polling the table without a due change: another dashboard process may have died with one."""
RETRY_SECONDS: Final = 5.0
TRIES: Final = 3
"""Number of rejected attempts at a batch after which the change fails."""


class BulkRunner:
    """Makes the due changes, one after the other."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._id = uuid4()
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Start polling for due changes, unless it is already running."""
        if not self._closing and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Poll now: a change was created or resumed."""
        self.start()
        self._wakeup.set()

    async def close(self) -> None:
        """Stop polling; a batch in progress is rolled back, and repeated by the process that continues the change."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def run_once(self) -> float:
        """Make the due changes; return the seconds until the next poll."""
        run = self._client.database.run
        while (id := await run(commands.claim_bulk_change(self._id))) is not None:
            await self._make(id)
        seconds = await run(commands.find_next_bulk_change())
        return LOOK_SECONDS if seconds is None else min(max(seconds, 0.1), LOOK_SECONDS)

    async def _run(self) -> None:
        while not self._closing:
            self._wakeup.clear()
            try:
                seconds = await self.run_once()
            except PgschedError as error:
                log.warning("bulk_changes_wait", error=str(error))
                seconds = RETRY_SECONDS
            if self._closing:  # A cancelled statement may end with an error of its own.
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(seconds):
                    await self._wakeup.wait()

    async def _make(self, id: int) -> None:
        refused = 0
        while True:
            try:
                if not await self._make_batch(id):
                    return
                refused = 0
            except DatabaseUnavailable:
                raise  # The change is still ours; it continues when the database is back.
            except PgschedError as error:
                refused += 1
                log.warning("bulk_batch_refused", bulk_change=id, error=str(error), tries=refused)
                if refused == TRIES:
                    end = commands.end_bulk_change(id, "failed", of=["running"], error=str(error), runner=self._id)
                    await self._client.database.run(end)
                    return
                await asyncio.sleep(refused)

    async def _make_batch(self, id: int) -> bool:
        """Change the next matching tasks; return whether more may follow."""
        async with self._client.transaction() as client:
            run = client.database.run
            batch = await run(commands.lock_bulk_change(id, self._id))
            if batch is None:  # The change was stopped.
                return False
            page = await run(find_ids(batch.filters, limit=BATCH, before_id=batch.before_id))
            changed = await run(change_tasks(batch.action, page.ids, dry_run=False, run_by=batch.actor))
            if changed:
                await run(
                    add_entry(
                        actor=batch.actor,
                        role=batch.role,
                        remote=batch.remote,
                        action=f"tasks.{batch.action}",
                        task_id=None,
                        queue=None,
                        target="tasks",
                        before={"filter": without_secrets(batch.filters)},
                        after={"changed": len(changed), "bulk_change": id},
                        task_ids=changed,
                    )
                )
            unsuited = sorted(set(page.ids) - set(changed), reverse=True)
            await run(
                commands.note_bulk_batch(
                    id,
                    looked_at=len(page.ids),
                    changed=len(changed),
                    unsuited=unsuited[:100],
                    before_id=page.next_before,
                )
            )
        log.info("bulk_batch_made", bulk_change=id, action=batch.action, actor=batch.actor, changed=len(changed))
        return page.next_before is not None
