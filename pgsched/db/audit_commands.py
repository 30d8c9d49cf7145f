"""What a client asks of the database about the audit log. Pure, as :mod:`pgsched.db.commands`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from pgsched.db.commands import MAX_LIMIT, Command, Rows
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import encode_json
from pgsched.domain.records import AuditEntry, read

SCAN = 100_000
"""So many ids are looked at for a page, unless it is of one task."""
_MAX_BIGINT = 2**63 - 1


class AuditPage(NamedTuple):
    """A part of the audit log."""

    entries: list[AuditEntry]
    """The latest first."""
    next_before: int | None
    """``before_id`` of the next page; None: this is the last one. A page may be short and not be the last."""


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
    *,
    task_id: int | None = None,
    actor: str | None = None,
    action: str | None = None,
    queue: str | None = None,
    limit: int = 50,
    before_id: int | None = None,
    scan: int = SCAN,
) -> Command[AuditPage]:
    """Read a page of the audit log, the latest first; the next page comes ``before_id`` where this one ended.

    ``action`` is one, as ``task.cancel``, or all of a kind, as ``task``.
    """
    if not 1 <= limit <= MAX_LIMIT:
        raise InvalidTask(f"limit must be between 1 and {MAX_LIMIT}, got {limit}")
    for name, value in (("task_id", task_id), ("before_id", before_id)):
        if value is not None and not 0 < value <= _MAX_BIGINT:
            raise InvalidTask(f"{name} must be a whole number from 1 on, got {str(value)[:30]}")
    for name, text in (("actor", actor), ("action", action), ("queue", queue)):
        if text is not None and "\0" in text:
            raise InvalidTask(f"{name} must be text without the character \\0, got {text[:100]!r}")

    def parse(rows: Rows) -> AuditPage:
        bottom = rows[0]["bottom"]
        found = [{name: value for name, value in row.items() if name != "bottom"} for row in rows]
        entries = [read(AuditEntry, row) for row in found if row["id"] is not None]
        if len(entries) == limit:
            return AuditPage(entries, entries[-1].id)
        return AuditPage(entries, bottom if bottom is not None and bottom > 1 else None)

    params = {
        "task_id": task_id,
        "actor": actor,
        "action": action,
        "queue": queue,
        "limit": limit,
        "before_id": before_id,
        "scan": scan,
    }
    return Command(load_statement("list_audit_entries"), params, parse, prepare=False)
