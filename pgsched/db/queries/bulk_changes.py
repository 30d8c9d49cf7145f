"""The dashboard's commands about changes in the background. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple
from uuid import UUID

from pgsched.db.queries.task_search import known_action
from pgsched.db.query import MAX_LIMIT, Command, Row, changed, command, rows_as, unprepared
from pgsched.domain.bulk_changes import UNDO_SECONDS, BulkChange, filter_as_json, filter_of_json
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.validation import MAX_BIGINT, optional, whole

LEASE_SECONDS: Final = 30
"""Another dashboard takes over a change after this long without a batch."""
_id = whole(1, MAX_BIGINT, rule="be a whole number from 1 on")


class Batch(NamedTuple):
    """The work of the next batch of a change."""

    id: int
    action: str
    filters: TaskFilters
    actor: str
    role: str
    remote: str | None
    before_id: int | None


def add_bulk_change(
    action: str,
    filters: TaskFilters,
    *,
    described: str,
    actor: str,
    role: str,
    remote: str | None,
    expected: int | None,
    delay: float = UNDO_SECONDS,
) -> Command[int]:
    """Request a change that starts after ``delay`` seconds; returns its id."""
    params = {
        "action": known_action(action),
        "filter": filter_as_json(filters),
        "described": described,
        "actor": actor,
        "role": role,
        "remote": remote,
        "expected": expected,
        "delay": delay,
    }
    return command("insert_bulk_change", lambda rows: int(rows[0]["id"]), **params)


def list_bulk_changes(
    *, id: int | None = None, limit: int = 50, before_id: int | None = None
) -> Command[list[BulkChange]]:
    """Read changes, the latest first, or the one with an id."""
    params = {
        "id": optional(_id)("id", id),
        "before_id": optional(_id)("before_id", before_id),
        "limit": whole(1, MAX_LIMIT)("limit", limit),
    }
    return unprepared("list_bulk_changes", rows_as(BulkChange), **params)


def claim_bulk_change(runner: UUID) -> Command[int | None]:
    """Take a change that is due; returns its id, None when there is none."""
    return command(
        "claim_bulk_change", lambda rows: int(rows[0]["id"]) if rows else None, runner=runner, lease=LEASE_SECONDS
    )


def find_next_bulk_change() -> Command[float | None]:
    """Read in how many seconds the next change may be taken; None when none is open."""
    return command("find_next_bulk_change", lambda rows: rows[0]["seconds"])


def lock_bulk_change(id: int, runner: UUID) -> Command[Batch | None]:
    """Lock a change for its next batch; None when it is no longer ours."""
    return command("lock_bulk_change", lambda rows: _batch(rows[0]) if rows else None, id=id, runner=runner)


def _batch(row: Row) -> Batch:
    filters = filter_of_json(row["filter"])
    return Batch(row["id"], row["action"], filters, row["actor"], row["role"], row["remote"], row["before_id"])


def note_bulk_batch(
    id: int, *, looked_at: int, changed: int, unsuited: Sequence[int], before_id: int | None
) -> Command[None]:
    """Record a batch; the next one continues at ``before_id``; None when this was the last."""
    params: dict[str, Any] = {"looked_at": looked_at, "changed": changed, "unsuited": list(unsuited)}
    return command("note_bulk_batch", lambda _: None, id=id, before_id=before_id, lease=LEASE_SECONDS, **params)


def end_bulk_change(
    id: int, status: str, *, of: Sequence[str], error: str | None = None, runner: UUID | None = None
) -> Command[bool]:
    """Move a change from one ``of`` these statuses to another; returns whether it was in one of them."""
    return command("end_bulk_change", changed, id=id, status=status, error=error, runner=runner, **{"from": list(of)})
