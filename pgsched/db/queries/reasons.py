"""The facts that decide why a task or a queue waits. Pure, as :mod:`pgsched.db.queries`.

Each statement reads a bounded number of rows by an index, whatever the table holds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pgsched.db.queries.tasks import last_of
from pgsched.db.query import Command, Rows, command, unprepared, value
from pgsched.domain.records import read
from pgsched.domain.validation import plain_text
from pgsched.domain.waiting.backlog import WINDOW_SECONDS, Sample
from pgsched.domain.waiting.facts import Ahead, QueueFacts, SetAside, TaskFacts, Upstream

AHEAD: Final = 200
"""Number of rows of each priority that are searched for those before a task."""
FRONT: Final = 200
"""Number of rows of each priority that are searched for due tasks."""
SLOTS: Final = 10_000
"""Number of slots of a queue that are examined."""


class Due(NamedTuple):
    """Due tasks of one queue, among its first rows."""

    by_type: dict[str, int]
    oldest_due_at: datetime | None
    is_capped: bool


def look_at_task(id: int) -> Command[TaskFacts | None]:
    """Read the facts of a task; None when it is not in the table."""

    def parse(rows: Rows) -> TaskFacts | None:
        if not rows:
            return None
        row = rows[0]
        lists: dict[str, Any] = {
            "upstream": [Upstream(**one) for one in row["upstream"]],
            "set_aside": [_set_aside(one) for one in row["set_aside"]],
        }
        return read(TaskFacts, {**row, **lists})

    return command("look_at_task", parse, id=last_of(id)["task_id"])


def _set_aside(one: dict[str, Any]) -> SetAside:
    return SetAside(
        worker_id=UUID(one["worker_id"]),
        operation=one["operation"],
        tries=one["tries"],
        since=datetime.fromisoformat(one["since"]),
    )


def look_at_queue(queue: str, *, key: str | None = None, task_type: str | None = None) -> Command[QueueFacts]:
    """Read the facts of a queue, for a task of this key and type. Raises InvalidTask for an invalid name."""
    params = {"queue": plain_text("queue", queue), "key": key, "task_type": task_type, "cap": SLOTS}
    return unprepared("look_at_queue", lambda rows: read(QueueFacts, rows[0]), **params)


def count_ahead(task: TaskFacts, queue: QueueFacts, task_types: list[str]) -> Command[Ahead]:
    """Count the tasks that a claim for these types takes before a due one; all due ones without a single order."""
    return unprepared(
        "count_ahead",
        lambda rows: Ahead(number=rows[0]["number"], is_capped=rows[0]["is_capped"]),
        id=task.id,
        queue=task.queue,
        priority=task.priority,
        next_run_at=task.next_run_at,
        task_types=task_types,
        lifo=queue.ordering == "lifo",
        anywhere=not queue.is_one_line,
        cap=AHEAD,
    )


def look_at_due(queue: str) -> Command[Due]:
    """Read the due tasks of a queue, among its first rows."""

    def parse(rows: Rows) -> Due:
        return Due(
            by_type={row["task_type"]: row["due"] for row in rows},
            oldest_due_at=min((row["oldest_due_at"] for row in rows), default=None),
            is_capped=any(row["seen"] >= FRONT for row in rows),
        )

    return unprepared("look_at_due", parse, queue=plain_text("queue", queue), cap=FRONT)


def read_clock() -> Command[datetime]:
    """Read the database's time."""
    return command("read_clock", value("now"))


def list_backlogs(queue: str | None = None) -> Command[dict[str, list[Sample]]]:
    """Read how many tasks were due in the last quarter of an hour, by queue, in chronological order."""

    def parse(rows: Rows) -> dict[str, list[Sample]]:
        found: dict[str, list[Sample]] = {}
        for row in rows:
            found.setdefault(row["queue"], []).append(read(Sample, row))
        return found

    return unprepared("list_backlogs", parse, queue=queue, seconds=WINDOW_SECONDS)
