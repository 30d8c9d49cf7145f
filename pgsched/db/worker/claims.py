"""Claims of due rows, and the handling of rows that cannot be claimed or read."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple

from pgsched.db.adapt import BigInts
from pgsched.db.session import Rows, Session
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.decoding import SpoiledRows, Undecodable, fetch_rows
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Claimed
from pgsched.domain.errors import DatabaseUnavailable

# Like Claimed._make, without its check of the length: once for every task.
_claimed = partial(tuple.__new__, Claimed)


@dataclass(frozen=True, slots=True)
class Probe:
    """Where a claim looks: in one queue and priority, at rows that became due after ``since`` and up to ``until``."""

    queue: str
    priority: int
    since: datetime | None = None
    cursor_at: datetime | None = None
    cursor_id: int | None = None
    """The last row that was claimed there: first-in, first-out order continues behind it, whatever ``since`` says."""
    until: datetime | None = None


class Pair(NamedTuple):
    """A queue and a priority that have rows which may ever be claimed."""

    queue: str
    priority: int
    due: bool
    """Whether one of them is due, whoever may have claimed it."""
    upcoming: float | None
    """Seconds until the next one becomes due; None if there is none."""


class Answer(NamedTuple):
    """A claim's answer about a limited queue."""

    queue: str
    again: float | None
    """Seconds until it makes sense to ask again; None: when something becomes due."""
    held_back: bool
    """Whether a concurrency limit holds rows back until others end."""
    noted: datetime | None = None
    """When the starts of the claim were recorded, for a queue with a rate."""


class Batch(NamedTuple):
    """The result of a claim."""

    tasks: list[Claimed]
    """In the order in which they start."""
    spoiled: list[tuple[Claimed, str]]
    """Rows with an unreadable value, without it, and the reason. They are claimed like the others."""
    again: bool = False
    """Whether rows that are in the way were found although nothing was claimed: the same claim may now succeed."""


class Due(NamedTuple):
    """A row that a claim would take."""

    id: int
    task_type: str
    queue: str


class Tried(NamedTuple):
    """A row whose claim was tested."""

    id: int
    task_type: str
    queue: str
    state: str | None
    """The SQLSTATE that its claim fails with; None when it can be claimed."""
    message: str | None


class DeadLettered(NamedTuple):
    """A row that was to end as dead without a claim."""

    id: int
    attempts: int
    refused: str | None
    """Why the database rejected that; None when it is dead."""


_HARMLESS: dict[str, Any] = {
    **dict.fromkeys(Claimed._fields),
    **dict.fromkeys(("task_type", "queue", "schedule_type", "backoff", "timezone", "on_missed", "overlap"), "?"),
    "priority": 1,
    "payload": {},
    "next_run_at": datetime(1970, 1, 1, tzinfo=UTC),
    "late": 0.0,
    **dict.fromkeys(("attempts", "max_attempts", "fencing_token", "execution_count", "revision", "bytes"), 0),
    **dict.fromkeys(("lease_expired", "fired", "cut", "lockable", "lock_lost"), False),
}


def unread_task(**values: Any) -> Claimed:
    """Return a row of which only these columns are known: enough to record its end, but not to run it."""
    return Claimed(**{**_HARMLESS, **values})


def read_batch(rows: Rows) -> Batch:
    """Return claimed rows, separated from those with an unreadable value."""
    if not isinstance(rows, SpoiledRows):
        return Batch(list(map(_claimed, rows)), [])
    tasks: list[Claimed] = []
    spoiled: list[tuple[Claimed, str]] = []
    for row in rows:
        problems = [value.problem for value in row if isinstance(value, Undecodable)]
        if problems:
            named = zip(Claimed._fields, row, strict=True)
            known = {name: value for name, value in named if not isinstance(value, Undecodable)}
            spoiled.append((unread_task(**known), "; ".join(problems)))
        else:
            tasks.append(_claimed(row))
    return Batch(tasks, spoiled)


async def claim(
    session: Session,
    identity: Identity,
    probes: Sequence[Probe],
    limit: int,
    *,
    free: int | None = None,
    max_bytes: int = 2**31 - 1,
    set_aside: Sequence[int] = (),
) -> Batch:
    """Claim up to ``limit`` due rows, in the order of the probes, with payloads of ``max_bytes`` in all or one row.

    ``free`` of them, by default all, can start at once. Rows in ``set_aside`` are passed over.
    """
    cursor = await session.execute(
        load_statement("claim_tasks"),
        {
            **probe_parameters(identity, probes, limit, set_aside),
            "free": limit if free is None else free,
            "bytes": max_bytes,
            "worker": identity.id,
            "lease": identity.lease,
        },
    )
    return read_batch(await fetch_rows(cursor))


async def find_due_pairs(session: Session) -> list[Pair]:
    """Return all queues and priorities in which rows are due, or will be."""
    return [Pair(*row) for row in await session.fetch(load_statement("find_due_pairs"))]


async def find_claimable(
    session: Session, identity: Identity, probes: Sequence[Probe], limit: int, *, set_aside: Sequence[int]
) -> list[Due]:
    """Return the rows that :func:`claim` would take."""
    rows = await session.fetch(load_statement("find_claimable"), **probe_parameters(identity, probes, limit, set_aside))
    return [Due(*row) for row in rows]


def probe_parameters(
    identity: Identity, probes: Sequence[Probe], limit: int, set_aside: Sequence[int]
) -> dict[str, Any]:
    """Return the parameters of a statement that searches for due rows."""
    return {
        "queues": [probe.queue for probe in probes],
        "priorities": [probe.priority for probe in probes],
        "sinces": [probe.since for probe in probes],
        "cursor_ats": [probe.cursor_at for probe in probes],
        "cursor_ids": [probe.cursor_id for probe in probes],
        "untils": [probe.until for probe in probes],
        "task_types": identity.claimed_types,
        "context_types": identity.told_types,
        "limit": limit,
        "set_aside": BigInts(set_aside),
    }


async def claim_limited(
    session: Session,
    identity: Identity,
    rooms: Sequence[tuple[str, int]],
    room: int,
    *,
    max_bytes: int,
    set_aside: Sequence[int] = (),
) -> tuple[Batch, list[Answer]]:
    """Claim from limited queues: up to its room from each, up to ``room`` rows in all.

    A queue without room is only asked whether it has work.
    """
    command = claim_limited_command(identity, rooms, room, max_bytes=max_bytes, set_aside=set_aside)
    return read_claim_limited(await fetch_rows(await session.execute(*command)))


async def find_claimable_limited(
    session: Session, identity: Identity, rooms: Sequence[tuple[str, int]], room: int, *, set_aside: Sequence[int]
) -> list[Due]:
    """Return the rows that :func:`claim_limited` would take."""
    _, parameters = claim_limited_command(identity, rooms, room, max_bytes=2**31 - 1, set_aside=set_aside)
    return [Due(*row) for row in await session.fetch(load_statement("find_claimable_limited"), **parameters)]


def claim_limited_command(
    identity: Identity, rooms: Sequence[tuple[str, int]], room: int, *, max_bytes: int, set_aside: Sequence[int] = ()
) -> tuple[Any, dict[str, Any]]:
    """Return the statement of :func:`claim_limited` and its parameters, for a transaction that does more."""
    return load_statement("claim_limited"), {
        "queues": [queue for queue, _ in rooms],
        "rooms": [room_of for _, room_of in rooms],
        "room": room,
        "task_types": identity.claimed_types,
        "context_types": identity.told_types,
        "bytes": max_bytes,
        "worker": identity.id,
        "lease": identity.lease,
        "set_aside": BigInts(set_aside),
    }


def read_claim_limited(rows: Rows) -> tuple[Batch, list[Answer]]:
    """Read the result of that statement: the rows claimed, and an answer for each queue."""
    answers = [Answer(*row[:4]) for row in rows if row[4] is None]
    claimed = type(rows)(row[4:] for row in rows if row[4] is not None)
    return read_batch(claimed), answers


async def try_claims(session: Session, identity: Identity, ids: Sequence[int]) -> list[Tried]:
    """Test the claim of each row by itself, and undo it.

    Rows that are no longer due, or belong to another worker by now, are not returned.
    """
    rows = await session.fetch(load_statement("try_claims"), ids=BigInts(ids), worker=identity.id)
    return [Tried(*row) for row in rows]


async def takes_writes(session: Session, identity: Identity) -> bool:
    """Whether the server accepts any write of this worker."""
    try:
        await session.fetch(load_statement("touch_worker"), worker=identity.id)
    except DatabaseUnavailable:
        return False
    return True


async def dead_letter_unclaimed(session: Session, errors: Mapping[int, str]) -> list[DeadLettered]:
    """End due rows as dead, each with its own error, by id, where the database accepts that.

    Rows that are no longer due, or belong to another worker by now, are not returned.
    """
    statement = load_statement("dead_letter_unclaimed")
    rows = await session.fetch(statement, ids=BigInts(errors), errors=list(errors.values()))
    return [DeadLettered(*row) for row in rows]


async def find_due_ids(session: Session, identity: Identity) -> set[int]:
    """Return the ids of the rows that are due now. Raises DatabaseUnavailable."""
    given = {"queues": list(identity.queues), "patterns": list(identity.patterns), "task_types": identity.claimed_types}
    return {row[0] for row in await session.fetch(load_statement("find_due_ids"), **given)}
