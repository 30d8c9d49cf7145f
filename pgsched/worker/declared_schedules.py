"""``@app.task(cron=…)`` and ``handler.declare(…)``: one row each, whichever worker starts first.

What happens when code and table differ: an operator's edit stays for as long as the code is unchanged, because somebody
changed the row for a reason that the code does not know. A change in the code is the newer decision and overwrites the
row. Either way it is reported.
"""

from __future__ import annotations

from typing import NamedTuple

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import schedules
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")


class DeclaredSchedules(NamedTuple):
    """The outcome for one schedule."""

    task_type: str
    outcome: str
    """``added``, ``changed``, ``unchanged``; ``edited`` (the table differs and was left alone), ``overwritten`` (it
    differed, and the code had changed as well); ``orphaned`` (no longer in the code), ``disabled`` (orphaned and
    pruned), ``in use`` (no longer in this code, but declared by that of a live worker), ``refused`` (by the
    database)."""
    reason: str | None = None
    """Why the database rejected it."""
    name: str | None = None
    """Identifies the schedule among those of its type."""

    def __str__(self) -> str:
        """Its type and name."""
        return self.task_type if self.name is None else f"{self.task_type} ({self.name})"


async def declare_schedules(session: Session, registry: Registry) -> list[DeclaredSchedules]:
    """Insert or update the row of every declared schedule; one that is rejected does not affect the others.

    The row is found by its idempotency key: ``declared:<task_type>``, for a named one ``declared:<task_type>:<name>``,
    unless the declaration gives one. Raises DatabaseUnavailable.
    """
    synced = []
    for spec in _specs(registry):
        try:
            outcome, was_edited = await schedules.declare(session, spec.parameters())
        except RefusedByDatabase as error:
            synced.append(DeclaredSchedules(spec.task_type, "refused", str(error), name=spec.name))
            continue
        if was_edited:
            outcome = "overwritten" if outcome == "changed" else "edited"
        synced.append(DeclaredSchedules(spec.task_type, outcome, name=spec.name))
    return synced


async def sync_schedules(*, dsn: str, registry: Registry, prune: bool) -> list[DeclaredSchedules]:
    """Declare every schedule and look for rows that the code no longer declares; ``prune`` disables those.

    A row that the code of a live worker declares is left alone: it belongs to another program, or to the version that
    is being replaced. Raises DatabaseUnavailable.
    """
    session = Session(dsn=dsn, name="pgsched schedule sync")
    try:
        synced = await declare_schedules(session, registry)
        keys = declared_keys(registry)
        rows = await schedules.list_declared(session)
        orphans = [row for row in rows if row.enabled and row.idempotency_key not in keys]
        if prune:
            await schedules.disable_declared(session, [row.id for row in orphans if not row.is_alive])
        gone = "disabled" if prune else "orphaned"
        return synced + [
            DeclaredSchedules(row.task_type, "in use" if row.is_alive else gone, name=row.task_name) for row in orphans
        ]
    finally:
        await session.close()


async def declare(session: Session, registry: Registry) -> None:
    """Update the table to the schedules of the code. Raises DatabaseUnavailable."""
    for task_type, outcome, reason, name in await declare_schedules(session, registry):
        which = {"task_type": task_type} | ({} if name is None else {"name": name})
        if outcome == "refused":
            log.error("schedule_refused", **which, reason=reason)
        elif outcome in ("edited", "overwritten"):
            log.warning("schedule_edited", **which, kept="table" if outcome == "edited" else "code")
        elif outcome != "unchanged":
            log.info("schedule_declared", **which, outcome=outcome)


def declared_keys(registry: Registry) -> tuple[str, ...]:
    """Return the idempotency keys of the schedules that the handlers declare."""
    return tuple(str(spec.idempotency_key) for spec in _specs(registry))


def _specs(registry: Registry) -> list[TaskSpec]:
    return [spec for handler in registry for spec in handler.schedules]
