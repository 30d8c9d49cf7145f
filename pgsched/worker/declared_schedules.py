"""``@app.task(cron=…)`` and ``handler.declare(…)``: one row each, whoever starts first.

Who wins when code and table differ: what an operator edited stays for as long as the code says what it said before,
because somebody changed the row for a reason that the code does not know; a declaration that changes in the code is the
newer decision and is written over the row. Either way it is reported.
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
    """What became of one schedule."""

    task_type: str
    outcome: str
    """``added``, ``changed``, ``unchanged``; ``edited`` (the table differs and was left alone), ``overwritten`` (it
    differed, and the code had changed too); ``orphaned`` (no longer in the code), ``disabled`` (that too, and pruned),
    ``in use`` (no longer in this code, but the code of a living worker declares it), ``refused`` (by the database)."""
    reason: str | None = None
    """Why the database refused it."""
    name: str | None = None
    """Which of the schedules of its type."""

    def __str__(self) -> str:
        """Type and name."""
        return self.task_type if self.name is None else f"{self.task_type} ({self.name})"


async def declare_schedules(session: Session, registry: Registry) -> list[DeclaredSchedules]:
    """Insert or update the row of every declared schedule; one that is refused costs no other its row.

    The row is found by its idempotency key: ``declared:<task_type>``, of a named one ``declared:<task_type>:<name>``,
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

    A row that the code of a living worker declares is left alone: it belongs to another program, or to the version that
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
    """Bring the table into step with the schedules of the code. Raises DatabaseUnavailable."""
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
