"""Payloads that do not fit this worker's code but may fit newer code: their tasks wait for it, for a limited time."""

from __future__ import annotations

from functools import partial

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Sessions
from pgsched.db.worker.misfits import note_misfit
from pgsched.domain.attempt import Claimed, Outcome
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger
from pgsched.worker.loops import retry_until_success
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

WAIT_SECONDS = 3600.0
"""How long a task waits for newer code."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 60.0
"""Seconds until it is due again: they double from the first to the longest."""


async def left_to_newer(
    task: Claimed, outcome: Outcome, questions: Sessions, registry: Registry, counts: WorkerMetrics
) -> Outcome:
    """Return the outcome of a misfit: snoozed if newer code has registered the handler, otherwise dead."""
    handler = registry.get(task.task_type)
    if handler is None:
        return outcome
    schema = handler.payload_schema
    ask = partial(note_misfit, questions, task.id, handler.task_type, registry.version, schema)
    try:
        newer = await retry_until_success("misfit", task, ask, counts)
    except RefusedByDatabase as error:  # e.g. the role lacks the rights: the task ends as it would without newer code
        log.warning("misfit_not_noted", task_id=task.id, task_type=task.task_type, error=str(error))
        return outcome
    if newer is None:
        return outcome
    which = f"version {newer.version!r}" if newer.version is not None else f"registered {newer.since[:19]}Z"
    head, _, faults = (outcome.error or "").partition(f"handler {handler.task_type!r}")
    begun = f"{head}handler {handler.task_type!r}"
    if newer.seconds >= WAIT_SECONDS:
        minutes = WAIT_SECONDS / 60
        return outcome._replace(error=f"{begun}, and waited {minutes:g} minutes for newer code ({which}){faults}")
    return outcome._replace(
        status="snoozed",
        error=f"{begun}, and waits for newer code ({which}){faults}",
        retry_delay=min(FIRST_DELAY * 2 ** min(newer.waits, 10), LONGEST_DELAY),
    )
