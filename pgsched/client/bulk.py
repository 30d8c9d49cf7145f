# Generated from async_bulk.py by `make sync`: change that file instead.
"""What clients do with many tasks at once."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Unpack

from pgsched.db.database import Database
from pgsched.db.queries import dead_tasks, payload_edits, task_search
from pgsched.db.queries.dead_tasks import DeadBatch, DeadOptions
from pgsched.db.queries.payload_edits import EditedPayloads
from pgsched.db.queries.task_search import BulkProgress, Changed
from pgsched.domain.pages import PagedList
from pgsched.domain.records import Task
from pgsched.domain.retention_age import Age
from pgsched.domain.task_filters import TaskFilters

Told = Callable[[int], object]
"""Is told after each batch how many tasks were changed so far."""


class BulkClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def change_tasks(
        self,
        action: str,
        *,
        limit: int = task_search.MAX_CHANGED,
        dry_run: bool = False,
        before_id: int | None = None,
        run_by: str | None = None,
        **filters: Unpack[TaskFilters],
    ) -> Changed:
        """Do one thing to all tasks that fit and that it suits, in one transaction; in a dry run only tell which.

        ``action`` is enable, disable, run (``run_by``: as of ``run_now``), cancel, retry or delete. The latest
        ``limit`` tasks that fit are looked at; the next ones come ``before_id`` the ``next_before`` of these. Raises
        InvalidTask, naming filter, rule and value, also when there is no filter. For more tasks than one transaction
        should change take :meth:`change_in_batches`.
        """
        task_search.checked_bulk(filters, limit=limit)
        task_search.known_action(action)
        with self._database.transaction() as one:
            found: list[int] = []
            before = before_id
            while True:
                page = one.run(task_search.find_ids(filters, limit=limit - len(found), before_id=before))
                found += page.ids
                before = page.next_before
                if before is None or len(found) == limit:
                    break
            changed = one.run(task_search.change_tasks(action, found, dry_run=dry_run, run_by=run_by))
        return Changed(matched=len(found), changed=changed, more=before is not None, next_before=before)

    def change_in_batches(
        self,
        action: str,
        *,
        batch: int = task_search.BATCH,
        run_by: str | None = None,
        **filters: Unpack[TaskFilters],
    ) -> Iterator[BulkProgress]:
        """Do one thing to all tasks that fit and that it suits, ``batch`` of them in a transaction, the latest first.

        Gives after each transaction what has been done so far: that stays done, whatever happens to the rest, and a
        second call goes on where this one ended. Tasks that come meanwhile are left alone. ``batch`` is 1 to 1,000,
        ``run_by`` as of :meth:`change_tasks`. Raises InvalidTask as :meth:`change_tasks`, when the first one is asked
        for.
        """
        size = task_search.checked_batch(action, filters, batch)
        done = BulkProgress(looked_at=0, changed=0, ids=[])
        before: int | None = None
        while True:
            page = self._database.run(task_search.find_ids(filters, limit=task_search.MAX_CHANGED, before_id=before))
            for chunk in task_search.chunks(page.ids, size):
                with self._database.transaction() as one:
                    # Looked for again: what has ended, or was changed, since the page was read may fit no longer.
                    fitting = task_search.among(filters, chunk)
                    still = one.run(task_search.find_ids(fitting, limit=len(chunk), before_id=None))
                    changed = one.run(task_search.change_tasks(action, still.ids, dry_run=False, run_by=run_by))
                done = BulkProgress(done.looked_at + len(chunk), done.changed + len(changed), changed)
                yield done
            before = page.next_before
            if before is None:
                return

    def iter_tasks(self, **filters: Unpack[TaskFilters]) -> Iterator[Task]:
        """Give all tasks that fit, the latest first, from pages that are read as they are asked for.

        Memory and the time of each statement stay small however many there are. Tasks that come meanwhile are left
        alone. Raises InvalidTask, when the first one is asked for.
        """
        filters = task_search.at_this_moment(filters)
        limit, before = task_search.FIRST_READ, None
        while True:
            page = self._database.run(task_search.find_tasks(filters, limit=limit, before_id=before))
            size = 0
            for task in page.tasks:
                size += task_search.size_of(task)
                yield task
            before = page.next_before
            if before is None:
                return
            limit = task_search.next_limit(limit, number=len(page.tasks), size=size)

    def edit_payloads(
        self,
        patch: Mapping[str, Any],
        *,
        batch: int = task_search.BATCH,
        dry_run: bool = False,
        on_batch: Callable[[EditedPayloads], object] | None = None,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Change the payloads of all tasks that fit and wait for a run, or in a dry run only tell how many.

        ``patch`` is a merge patch (RFC 7396): what it has is set, None removes a key, objects are merged. Those that
        wait are pending or blocked, or schedules. Each ``batch`` is a transaction of its own, the latest tasks first;
        after each ``on_batch`` is called with what was done so far. A payload that would break a rule, as that of a
        strict handler, stays as it is and is told of. Raises InvalidTask, also when there is no filter.
        """
        done = EditedPayloads()
        while True:
            one = self.edit_payload_batch(patch, limit=batch, before_id=done.next_before, dry_run=dry_run, **filters)
            done = done.and_then(one)
            if one.matched and on_batch is not None:
                on_batch(done)
            if done.next_before is None:
                return done

    def edit_payload_batch(
        self,
        patch: Mapping[str, Any],
        *,
        limit: int = task_search.BATCH,
        before_id: int | None = None,
        dry_run: bool = False,
        **filters: Unpack[TaskFilters],
    ) -> EditedPayloads:
        """Do one batch of :meth:`edit_payloads`, of tasks with smaller ids than ``before_id``; the next one is said."""
        task_search.checked_bulk(filters, limit=payload_edits.checked_batch(limit))
        payload_edits.checked_patch(patch)
        with self._database.transaction() as one:
            page = one.run(task_search.find_ids(payload_edits.of_waiting(filters), limit=limit, before_id=before_id))
            return one.run(payload_edits.edit_payloads(page.ids, patch, dry_run=dry_run, next_before=page.next_before))

    def dead(self, **options: Unpack[DeadOptions]) -> PagedList[Task]:
        """Return the tasks that died last, the latest first; the next page comes by ``cursor``.

        The filters are those of all lists of tasks.
        """
        return self._database.run(dead_tasks.list_dead(**options))

    def retry_dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        all: bool = False,
        on_progress: Told | None = None,
    ) -> int:
        """Give all dead tasks that fit all their attempts again, due now; return how many.

        1,000 of them in a transaction: what is done stays done when it is interrupted, and a second call goes on.
        ``on_progress`` is called after each transaction with the number so far. What dies meanwhile is left alone.
        Without a filter ``all`` must be True. Raises InvalidTask.
        """
        return self._batches(dead_tasks.retry_dead(queue=queue, task_type=task_type, all=all), on_progress)

    def purge_dead(
        self,
        *,
        queue: str | None = None,
        task_type: str | None = None,
        older_than: Age | None = None,
        all: bool = False,
        on_progress: Told | None = None,
    ) -> int:
        """Delete the dead tasks that fit and have been dead for ``older_than``; return how many.

        In batches, and with ``on_progress``, as :meth:`retry_dead`. Without a filter ``all`` must be True. Raises
        InvalidTask.
        """
        following = dead_tasks.purge_dead(queue=queue, task_type=task_type, older_than=older_than, all=all)
        return self._batches(following, on_progress)

    def _batches(self, following: dead_tasks.Next, told: Told | None) -> int:
        number = 0
        done: DeadBatch | None = None
        while done is None or done.last is not None:
            done = self._database.run(following(done))
            number += done.changed
            if told is not None and done.last is not None:
                told(number)
        return number
