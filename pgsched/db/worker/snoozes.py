"""How often a task was snoozed."""

from __future__ import annotations

from pgsched.db.session import Sessions
from pgsched.db.sql_files import load_statement


async def count_snoozes(sessions: Sessions, task_id: int) -> int:
    """Return how many consecutive attempts at a task were snoozed, as far back as the history is kept.

    Raises DatabaseUnavailable.
    """
    (rows,) = await sessions.fetch([(load_statement("count_snoozes"), {"id": task_id})])
    return int(rows[0][0])
