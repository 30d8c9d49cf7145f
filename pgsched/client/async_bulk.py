"""Client methods for many tasks at once."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any, Unpack

from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import dead_tasks, payload_edits, task_search
from pgsched.db.queries.dead_tasks import DeadBatch, DeadOptions
from pgsched.db.queries.payload_edits import EditedPayloads
from pgsched.db.queries.task_search import BulkProgress, Changed
from pgsched.domain.pages import PagedList
from pgsched.domain.records import Task
from pgsched.domain.retention_age import Age
from pgsched.domain.task_filters import TaskFilters

Told = Callable[[int], object]
"""Called after each batch with the number of tasks changed so far."""


class AsyncBulkClient:
    """The part of :class:`pgsched.AsyncClient`."""

    _database: AsyncDatabase

    async def change_tasks(
        self,
        action: str,
        *,
        limit: int = task_search.MAX_CHANGED,
        dry_run: bool = False,
        before_id: int | None = None,
        run_by: str | None = None,
        **filters: Unpack[TaskFilters],
    ) -> Changed:
        """Apply an action to all matching tasks that it suits, in one transaction; a dry run only reports them.

        ``action`` is enable, disable, run (``run_by`` as in ``run_now``), cancel, retry or delete. The latest
        ``limit`` matching tasks are examined; for the next ones pass ``next_before`` of the result as ``before_id``.
        Raises InvalidTask, naming filter, rule and value, also when there is no filter. For more tasks than one
        transaction should change use :meth:`change_in_batches`.
        """
        task_search.checked_bulk(filters, limit=limit)
        task_search.known_action(action)
        async with self._database.transaction() as one:
            found: list[int] = []
            before = before_id
            while True:
                page = await one.run(task_search.find_ids(filters, limit=limit - len(found), before_id=before))
                found += page.ids
                before = page.next_before
                if before is None or len(found) == limit:
                    break
            changed = await one.run(task_search.change_tasks(action, found, dry_run=dry_run, run_by=run_by))
        return Changed(matched=len(found), changed=changed, more=before is not None, next_before=before)

    async def change_in_batches(
        self,
        action: str,
        *,
        batch: int = task_search.BATCH,
        run_by: str | None = None,
        **filters: Unpack[TaskFilters],
    ) -> AsyncIterator[BulkProgress]:
        """Apply an action to all matching tasks that it suits, ``batch`` of them per transaction, the latest first.

        Yields the progress after each transaction: that part is committed, whatever happens to the rest, and a second
        call continues where this one ended. Tasks that arrive meanwhile are left alone. ``batch`` is 1 to 1,000,
        ``run_by`` as in :meth:`change_tasks`. Raises InvalidTask like :meth:`change_tasks`, on the first iteration.
        """
        size = task_search.checked_batch(action, filters, batch)
        done = BulkProgress(looked_at=0, changed=0, ids=[])
        before: int | None = None
        while True:
            page = await self._database.run(
                task_search.find_ids(filters, limit=task_search.MAX_CHANGED, before_id=before)
            )
            for chunk in task_search.chunks(page.ids, size):
                async with self._database.transaction() as one:
                    # Checked again: tasks that ended or were changed since the page was read may no longer match.
                    fitting = task_search.among(filters, chunk)
                    still = await one.run(task_search.find_ids(fitting, limit=len(chunk), before_id=None))
                    changed = await one.run(task_search.change_tasks(action, still.ids, dry_run=False, run_by=run_by))
                done = BulkProgress(done.looked_at + len(chunk), done.changed + len(changed), changed)
                yield done
            before = page.next_before
            if before is None:
                return

    async def iter_tasks(self, **filters: Unpack[TaskFilters]) -> AsyncIterator[Task]:
        """Yield all matching tasks, the latest first, from pages that are read on demand.

        Memory and the time of each statement stay small however many there are. Tasks that arrive meanwhile are left
        alone. Raises InvalidTask on the first iteration.
        """
        filters = task_search.at_this_moment(filters)
        limit, before = task_search.FIRST_READ, None
        while True:
            page = await self._database.run(task_search.find_tasks(filters, limit=limit, before_id=before))
            size = 0
            for task in page.tasks:
                size += task_search.size_of(task)
                yield task
            before = page.next_before
            if before is None:
                return
            limit = task_search.next_limit(limit, number=len(page.tasks), size=size)

    async def edit_payloads(
        self,
        patch: Mapping[str, Any],
        *,
        batch: int = task_search.BATCH,
        dry_run: bool = False,
        on_batch: Callable[[EditedPayloads], object] | None = None,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Change the payloads of all matching tasks that wait for a run; a dry run only counts them.

        ``patch`` is a merge patch (RFC 7396): its values are set, None removes a key, objects are merged. Waiting tasks
        are pending or blocked tasks, and schedules. Each ``batch`` is a transaction of its own, the latest tasks first;
        after each ``on_batch`` is called with the result so far. A payload that would violate a rule, for example that
        of a strict handler, is not changed but reported. Raises InvalidTask, also when there is no filter.
        """
        done = EditedPayloads()
        while True:
            one = await self.edit_payload_batch(
                patch, limit=batch, before_id=done.next_before, dry_run=dry_run, **filters
            )
            done = done.and_then(one)
            if one.matched and on_batch is not None:
                on_batch(done)
            if done.next_before is None:
                return done

    async def edit_payload_batch(
        self,
        patch: Mapping[str, Any],
        *,
        limit: int = task_search.BATCH,
        before_id: int | None = None,
        dry_run: bool = False,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Perform one batch of :meth:`edit_payloads`, for tasks with ids below ``before_id``."""
        task_search.checked_bulk(filters, limit=payload_edits.checked_batch(limit))
        payload_edits.checked_patch(patch)
        async with self._database.transaction() as one:
            page = await one.run(
                task_search.find_ids(payload_edits.of_waiting(filters), limit=limit, before_id=before_id)
            )
            return await one.run(
                payload_edits.edit_payloads(page.ids, patch, dry_run=dry_run, next_before=page.next_before)
            )

    async def dead(self, **options: Unpack[DeadOptions]) -> PagedList[Task]:
        """Return the tasks that died last, the latest first; pass ``cursor`` for the next page.

        The filters are those of all lists of tasks.
        """
        return await self._database.run(dead_tasks.list_dead(**options))

    async def retry_dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        all: bool = False,
        on_progress: Told | None = None,
    ) -> int:
        """Give all matching dead tasks all their attempts again, due now; return how many.

        1,000 tasks per transaction: after an interruption finished transactions remain, and a second call continues.
        ``on_progress`` is called after each transaction with the number so far. Tasks that die meanwhile are left
        alone. Without a filter ``all`` must be True. Raises InvalidTask.
        """
        return await self._batches(dead_tasks.retry_dead(queue=queue, task_type=task_type, all=all), on_progress)

    async def purge_dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        older_than: Age | None = None,
        all: bool = False,
        on_progress: Told | None = None,
    ) -> int:
        """Delete the matching dead tasks that have been dead for ``older_than``; return how many.

        In batches, and with ``on_progress``, like :meth:`retry_dead`. Without a filter ``all`` must be True. Raises
        InvalidTask.
        """
        following = dead_tasks.purge_dead(queue=queue, task_type=task_type, older_than=older_than, all=all)
        return await self._batches(following, on_progress)

    async def _batches(self, following: dead_tasks.Next, told: Told | None) -> int:
        number = 0
        done: DeadBatch | None = None
        while done is None or done.last is not None:
            done = await self._database.run(following(done))
            number += done.changed
            if told is not None and done.last is not None:
                told(number)
        return number
