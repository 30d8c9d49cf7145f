"""What programs ask of the database about workers. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from pgsched.db.query import Command, Rows, command
from pgsched.domain.records import Unhandled, WorkerInfo, read, read_troubles


def workers() -> Command[list[WorkerInfo]]:
    """Read every worker."""

    def parse(rows: Rows) -> list[WorkerInfo]:
        return [read(WorkerInfo, {**row, "troubles": read_troubles(row["troubles"])}) for row in rows]

    return command("list_workers", parse)


def unhandled() -> Command[list[Unhandled]]:
    """Read what is due without a live worker that has a handler for it, the most first."""
    return command("list_unhandled", lambda rows: [Unhandled(**row) for row in rows])
