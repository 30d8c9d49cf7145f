"""Commands of a deployment about waiting tasks. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

from pgsched.db.query import Command, Rows, unprepared

PAGE: Final = 500
"""Number of tasks that are read at a time."""
SCAN: Final = 50_000
"""Number of rows that are examined for them."""


class WaitingTask(NamedTuple):
    """A task that is still to run."""

    id: int
    task_type: str
    queue: str
    status: str
    schedule_type: str
    payload: dict[str, Any]
    fired: bool
    """Whether it is a group whose steps are rows of their own by now."""


class WaitingPage(NamedTuple):
    """Some of them, by their ids."""

    tasks: list[WaitingTask]
    next_after: int | None
    """The next page comes after this id; None when there is nothing more."""


def find_waiting(after_id: int, *, page: int = PAGE, scan: int = SCAN) -> Command[WaitingPage]:
    """Read a page of the waiting tasks; it may be empty without being the last one."""

    def parse(rows: Rows) -> WaitingPage:
        found = [
            WaitingTask(**{name: row[name] for name in WaitingTask._fields}) for row in rows if row["id"] is not None
        ]
        return WaitingPage(found, found[-1].id if len(found) == page else rows[0]["scanned_to"])

    return unprepared("find_waiting", parse, after_id=after_id, limit=page, scan=scan)
