"""What is due for a worker, asked without claiming it."""

from __future__ import annotations

from pgsched.db.leases import Identity
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement


async def find_due_ids(session: Session, identity: Identity) -> set[int]:
    """Return the ids of the rows that are due now. Raises DatabaseUnavailable."""
    params = {
        "task_types": list(identity.task_types),
        "queues": list(identity.queues),
        "patterns": list(identity.patterns),
    }
    cursor = await session.execute(load_statement("find_due_ids"), params)
    return {row[0] for row in await cursor.fetchall()}
