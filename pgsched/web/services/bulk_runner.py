"""Changes to many tasks in the background: asked for, made in batches, undone, stopped, resumed.

A batch, its entry in the audit log and how far the change is are one transaction, so whichever dashboard goes on after
another one's death goes on exactly there. What is open is in the table: nothing is lost with the browser or the server.
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
"""Tasks that one transaction changes: a stop waits for one of them at most."""
LOOK_SECONDS: Final = 60.0
"""After so long without a change to make the table is looked at: another dashboard may have died with one."""
RETRY_SECONDS: Final = 5.0
TRIES: Final = 3
"""A batch that was refused so often ends the change."""


class BulkRunner:
    """Makes the changes that are due, one after the other."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._id = uuid4()
        self._wakeup = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def start(self) -> None:
        """Begin to look for changes that are due, if this does not look yet."""
        if not self._closing and (self._task is None or self._task.done()):
            self._task = asyncio.create_task(self._run())

    def wake(self) -> None:
        """Look at once: a change was asked for, or resumed."""
        self.start()
        self._wakeup.set()

    async def close(self) -> None:
        """End the looking; a batch under way is rolled back, and made again by whoever goes on."""
        self._closing = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def run_once(self) -> float:
        """Make the changes that are due; return in how many seconds to look again."""
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
            if self._closing:  # a statement that was cancelled may end with an error of its own
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
                raise  # it is still ours, and is taken up when the database is back
            except PgschedError as error:
                refused += 1
                log.warning("bulk_batch_refused", bulk_change=id, error=str(error), tries=refused)
                if refused == TRIES:
                    end = commands.end_bulk_change(id, "failed", of=["running"], error=str(error), runner=self._id)
                    await self._client.database.run(end)
                    return
                await asyncio.sleep(refused)

    async def _make_batch(self, id: int) -> bool:
        """Change the next tasks that fit; whether there may be more."""
        async with self._client.transaction() as client:
            run = client.database.run
            batch = await run(commands.lock_bulk_change(id, self._id))
            if batch is None:  # stopped
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
