"""What a starting worker says of due tasks that nobody serves."""

from __future__ import annotations

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

CAP = 1000
"""So many due rows of a queue are looked at."""


async def tell_unserved(session: Session) -> None:
    """Log which types are due in which queues that no live worker of the queue has a handler for.

    Raises DatabaseUnavailable.
    """
    try:
        rows = await session.fetch(load_statement("survey_types"), cap=CAP)
    except RefusedByDatabase as error:
        log.warning("due_types_unknown", error=str(error))
        return
    for queue, task_type, due, _, handled in rows:
        if due and not handled:
            log.warning("due_without_worker", queue=queue, task_type=task_type, due=due)
