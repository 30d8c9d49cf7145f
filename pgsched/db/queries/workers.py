"""What programs ask of the database about workers. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from pgsched.db.query import Command, Rows, command, rows_as
from pgsched.domain.records import HandlerInfo, Unhandled, WorkerInfo, read, read_troubles
from pgsched.domain.validation import checked


def workers() -> Command[list[WorkerInfo]]:
    """Read every worker."""

    def parse(rows: Rows) -> list[WorkerInfo]:
        return [read(WorkerInfo, {**row, "troubles": read_troubles(row["troubles"])}) for row in rows]

    return command("list_workers", parse)


def handlers(task_type: str | None = None) -> Command[list[HandlerInfo]]:
    """Read the register, or one type of it."""
    given = None if task_type is None else checked("task_type", task_type)
    return command("list_handlers", rows_as(HandlerInfo), task_type=given)


def unhandled() -> Command[list[Unhandled]]:
    """Read what is due without a live worker that has a handler for it, the most first."""
    return command("list_unhandled", lambda rows: [Unhandled(**row) for row in rows])
