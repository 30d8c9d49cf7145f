"""Writes a program's handlers into the register, so that the database knows them."""

from __future__ import annotations

from typing import Any, NamedTuple

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Session
from pgsched.db.worker import handlers
from pgsched.domain.task_spec import default_columns
from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

MAX_DESCRIPTION = 10_000
"""Maximum number of characters of a docstring that are stored."""


class Registered(NamedTuple):
    """The outcome for one handler."""

    task_type: str
    outcome: str
    """``written`` (new or changed), ``unchanged``; ``gone`` (registered, but no longer in the code), ``retired``."""
    waiting: int = 0
    """Waiting tasks that were changed."""


async def register(session: Session, registry: Registry) -> None:
    """Register the handlers of a starting worker, which also works without that. Raises DatabaseUnavailable."""
    try:
        written = await handlers.register(session, entries(registry))
    except RefusedByDatabase as error:  # e.g. the role lacks the rights
        log.warning("handlers_not_registered", error=str(error))
        return
    if written:
        log.info("handlers_registered", task_types=written)


async def sync_handlers(*, dsn: str, registry: Registry, retire: bool, waiting: bool) -> list[Registered]:
    """Register the handlers of a deployment, and find those that the code no longer has; ``retire`` retires them.

    With ``waiting``, waiting tasks adopt changed options where they had the previous ones. A type that a live worker
    has is left alone: it belongs to another program, or to the version that is being replaced. Raises
    DatabaseUnavailable, and RefusedByDatabase for a role that lacks the rights.
    """
    session = Session(dsn=dsn, name="pgsched sync")
    try:
        before = await handlers.resolve_waiting(session, registry.task_types) if waiting else []
        newest = [entry | {"newest": True} for entry in entries(registry)]
        written = set(await handlers.register(session, newest))
        changed = await _change_waiting(session, before) if before else {}
        gone = await handlers.retire(session, registry.task_types, really=retire)
    finally:
        await session.close()
    said = [
        Registered(one, "written" if one in written else "unchanged", changed.get(one, 0))
        for one in registry.task_types
    ]
    return said + [Registered(one, "retired" if retire else "gone") for one in gone]


async def _change_waiting(session: Session, before: list[handlers.Resolved]) -> dict[str, int]:
    after = await handlers.resolve_waiting(session, sorted({one.task_type for one in before}))
    now = {(one.task_type, one.queue): one for one in after}
    changed: dict[str, int] = {}
    for one in before:
        then = now.get((one.task_type, one.queue))
        if then is not None and then.options != one.options:
            number = await handlers.update_waiting(session, one, then)
            changed[one.task_type] = changed.get(one.task_type, 0) + number
    return changed


def entries(registry: Registry) -> list[dict[str, Any]]:
    """Return the handlers in the form of ``pgsched.register``, by type."""
    return [_entry(handler, registry.version) for handler in map(registry.get, registry.task_types) if handler]


def _entry(handler: Handler, version: str | None) -> dict[str, Any]:
    description = handler.description
    return {
        "task_type": handler.task_type,
        "defaults": default_columns(handler.defaults) | ({} if handler.cost is None else {"cost": handler.cost}),
        "payload_schema": handler.payload_schema,
        "result_schema": handler.result_schema,
        "description": None if description is None else description[:MAX_DESCRIPTION],
        "version": version,
        "strict": handler.strict,
        "durable": handler.durable,
    }
