"""Commands about the audit log. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from pgsched.db.query import MAX_LIMIT, Command, Rows, choice, command, unprepared
from pgsched.domain.json_text import encode_json
from pgsched.domain.records import AuditEntry, read
from pgsched.domain.validation import MAX_BIGINT, optional, whole

SCAN = 100_000
"""Number of ids that a page examines, unless it is about one task."""
_id = whole(1, MAX_BIGINT, rule="be a whole number from 1 on")


class AuditPage(NamedTuple):
    """A page of the audit log."""

    entries: list[AuditEntry]
    """The latest first."""
    next_before: int | None
    """``before_id`` of the next page; None when this is the last one. A short page need not be the last."""


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
    task_ids: Sequence[int] | None = None,
) -> Command[int]:
    """Record a change; returns the id of its entry."""
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
        "task_ids": None if task_ids is None else list(task_ids),
    }
    return command("insert_audit_entry", lambda rows: int(rows[0]["id"]), **params)


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

    ``action`` is one action, such as ``task.cancel``, or all of a kind, such as ``task``.
    """
    params = {
        **choice(actor=actor, action=action, queue=queue),
        "task_id": optional(_id)("task_id", task_id),
        "limit": whole(1, MAX_LIMIT)("limit", limit),
        "before_id": optional(_id)("before_id", before_id),
        "scan": scan,
    }

    def parse(rows: Rows) -> AuditPage:
        bottom = rows[0]["bottom"]
        found = [{name: value for name, value in row.items() if name != "bottom"} for row in rows]
        entries = [read(AuditEntry, row) for row in found if row["id"] is not None]
        if len(entries) == limit:
            return AuditPage(entries, entries[-1].id)
        return AuditPage(entries, bottom if bottom is not None and bottom > 1 else None)

    return unprepared("list_audit_entries", parse, **params)
