"""What is asked of the database about limits of tasks that are passed. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from pgsched.db.query import Command, Rows
from pgsched.db.sql_files import load_statement
from pgsched.domain.records import read
from pgsched.domain.silence import Alert

CAP = 10_001
"""Maximum number of exceeded limits to read."""


def list_alerts(task_id: int | None = None) -> Command[list[Alert]]:
    """Read which tasks, or whether one task, had no success or run for longer than they say."""

    def parse(rows: Rows) -> list[Alert]:
        return [read(Alert, row) for row in rows]

    return Command(load_statement("list_alerts"), {"task_id": task_id, "cap": CAP}, parse, prepare=False)
