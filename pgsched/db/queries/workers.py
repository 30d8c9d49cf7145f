"""Commands about workers. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from uuid import UUID

from pgsched.db.query import Command, Rows, command, rows_as
from pgsched.domain.errors import WorkerNotFound
from pgsched.domain.records import HandlerInfo, read
from pgsched.domain.stats import Unhandled
from pgsched.domain.validation import checked, optional, plain_text, refused
from pgsched.domain.worker_records import WorkerInfo, read_troubles


def workers() -> Command[list[WorkerInfo]]:
    """Read every worker."""

    def parse(rows: Rows) -> list[WorkerInfo]:
        return [read(WorkerInfo, {**row, "troubles": read_troubles(row["troubles"])}) for row in rows]

    return command("list_workers", parse)


def ask_worker(worker: UUID | str, request: str | None, requested_by: str | None) -> Command[bool]:
    """Request that a worker ``pause`` or ``drain`` or, with None, work again; returns whether the request changed.

    Raises InvalidTask for an invalid id, and WorkerNotFound.
    """
    id = worker_id(worker)
    by = optional(plain_text)("requested_by", requested_by)

    def parse(rows: Rows) -> bool:
        changed = rows[0]["changed"]
        if changed is None:
            raise WorkerNotFound(f"worker {id} is not registered")
        return bool(changed)

    return command("ask_worker", parse, worker=id, request=request, requested_by=by)


def worker_id(worker: UUID | str) -> UUID:
    """Return the id of a worker. Raises InvalidTask."""
    try:
        return worker if isinstance(worker, UUID) else UUID(worker)
    except (ValueError, AttributeError, TypeError):
        raise refused("worker", "be the id of a worker, a UUID", worker) from None


def handlers(task_type: str | None = None) -> Command[list[HandlerInfo]]:
    """Read the register, or one type of it."""
    given = None if task_type is None else checked("task_type", task_type)
    return command("list_handlers", rows_as(HandlerInfo), task_type=given)


def unhandled() -> Command[list[Unhandled]]:
    """Read the due tasks that no live worker has a handler for, the most frequent first."""
    return command("list_unhandled", lambda rows: [Unhandled(**row) for row in rows])
