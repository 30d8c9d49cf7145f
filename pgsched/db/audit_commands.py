"""What a client asks of the database about the audit log. Pure, as :mod:`pgsched.db.commands`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pgsched.db.commands import MAX_LIMIT, Command
from pgsched.db.statements import load_statement
from pgsched.errors import InvalidTask
from pgsched.jsontext import encode_json
from pgsched.records import AuditEntry, read

_MAX_BIGINT = 2**63 - 1


def add_entry(
    *,
    actor: str,
    role: str,
    remote: str | None,
    action: str,
    task_id: int | None,
    queue: str | None,
    target: str | None,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> Command[int]:
    """Note a change; the id of its entry."""
    params = {
        "actor": actor,
        "role": role,
        "remote": remote,
        "action": action,
        "task_id": task_id,
        "queue": queue,
        "target": target,
        "before": None if before is None else encode_json(before, "before"),
        "after": None if after is None else encode_json(after, "after"),
    }
    return Command(load_statement("insert_audit_entry"), params, lambda rows: int(rows[0]["id"]))


def list_entries(
    *, task_id: int | None = None, limit: int = 50, before_id: int | None = None
) -> Command[list[AuditEntry]]:
    """Read a page of the audit log, the latest first; the next page comes ``before_id`` the last."""
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidTask(f"limit must be between 1 and {MAX_LIMIT}, got {limit}")
    for name, value in (("task_id", task_id), ("before_id", before_id)):
        if value is not None and not 0 < value <= _MAX_BIGINT:
            raise InvalidTask(f"{name} must be a whole number from 1 on, got {str(value)[:30]}")
    params = {"task_id": task_id, "limit": limit, "before_id": before_id}
    return Command(
        load_statement("list_audit_entries"),
        params,
        lambda rows: [read(AuditEntry, row) for row in rows],
        prepare=False,
    )
