"""Warnings of a starting worker about due tasks that nobody serves."""

from __future__ import annotations

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.queries.dashboard import survey_types
from pgsched.db.session import Session
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")


async def tell_unserved(session: Session) -> None:
    """Log which types are due in which queues that no live worker of the queue has a handler for.

    Raises DatabaseUnavailable.
    """
    try:
        survey = survey_types()
        rows = await session.fetch(survey.statement, **survey.params)
    except RefusedByDatabase as error:
        log.warning("due_types_unknown", error=str(error))
        return
    for queue, task_type, due, _, handled in rows:
        if due and not handled:
            log.warning("due_without_worker", queue=queue, task_type=task_type, due=due)
