"""What a worker does with rows that are not finished: claim, renew, release; and its own row: sleep, wake, leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import UUID

import psycopg

from pgsched.db.connect import connect
from pgsched.db.faults import fault_of
from pgsched.db.session import STATEMENT_TIMEOUT, Session
from pgsched.db.settled import settled
from pgsched.db.statements import load_statement
from pgsched.model import Claimed

SHORTEST_PATIENCE = 1.0
"""Seconds; a heartbeat waits half a lease for its answer, so that it can renew it by another connection."""

# As Claimed._make, without its check of the length: once for every task.
_claimed = partial(tuple.__new__, Claimed)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who this worker is, as its row in ``pgsched.workers`` shows it."""

    id: UUID
    hostname: str
    pid: int
    queues: tuple[str, ...]
    task_types: tuple[str, ...]
    declared_keys: tuple[str, ...]
    """The idempotency keys of the schedules that its code declares."""
    concurrency: int
    lease: float
    patterns: tuple[str, ...] = ()
    """It serves the queues that match one of these patterns of LIKE, too."""


@dataclass(frozen=True, slots=True)
class Probe:
    """Where a claim looks: one queue and priority, after the last row that was claimed there."""

    queue: str
    priority: int
    floor_at: datetime | None = None
    floor_id: int | None = None


class Answer(NamedTuple):
    """What a claim says of a queue that is claimed apart."""

    queue: str
    again: float | None
    """Seconds until it makes sense to ask again; None: when something becomes due."""
    held_back: bool
    """A limit of concurrency holds rows back until others end."""
    noted: datetime | None = None
    """As when the starts of the claim were noted, of a queue with a rate."""


class LateStart(NamedTuple):
    """Starts that came so many seconds after they were noted."""

    queue: str
    noted: datetime
    late: float


async def claim(
    session: Session, identity: Identity, probes: Sequence[Probe], limit: int, *, max_bytes: int = 2**31 - 1
) -> list[Claimed]:
    """Claim up to ``limit`` due rows, in the order of the probes, with payloads of ``max_bytes`` in all or one row."""
    cursor = await session.execute(
        load_statement("claim_tasks"),
        {
            "queues": [probe.queue for probe in probes],
            "priorities": [probe.priority for probe in probes],
            "floor_ats": [probe.floor_at for probe in probes],
            "floor_ids": [probe.floor_id for probe in probes],
            "task_types": list(identity.task_types),
            "limit": limit,
            "bytes": max_bytes,
            "worker": identity.id,
            "lease": identity.lease,
        },
    )
    return list(map(_claimed, await cursor.fetchall()))


async def claim_apart(
    session: Session, identity: Identity, rooms: Sequence[tuple[str, int]], room: int, *, max_bytes: int
) -> tuple[list[Claimed], list[Answer]]:
    """Claim from queues that are claimed apart: of each up to its room, in all up to ``room`` rows.

    Of a queue without room is only asked whether it has something.
    """
    cursor = await session.execute(*claim_apart_command(identity, rooms, room, max_bytes=max_bytes))
    return read_claim_apart(await cursor.fetchall())


def claim_apart_command(
    identity: Identity, rooms: Sequence[tuple[str, int]], room: int, *, max_bytes: int
) -> tuple[Any, dict[str, Any]]:
    """The statement of :func:`claim_apart` and its parameters, for a transaction that does more."""
    return load_statement("claim_apart"), {
        "queues": [queue for queue, _ in rooms],
        "rooms": [most for _, most in rooms],
        "room": room,
        "task_types": list(identity.task_types),
        "bytes": max_bytes,
        "worker": identity.id,
        "lease": identity.lease,
    }


def read_claim_apart(rows: Sequence[tuple[Any, ...]]) -> tuple[list[Claimed], list[Answer]]:
    """What that statement returned: the rows claimed, and an answer for each queue."""
    tasks: list[Claimed] = []
    answers: list[Answer] = []
    for row in rows:
        if row[4] is None:
            answers.append(Answer(*row[:4]))
        else:
            tasks.append(_claimed(row[4:]))
    return tasks, answers


async def note_late_starts(session: Session, starts: Sequence[LateStart]) -> None:
    """Let starts count from when they happened."""
    await session.execute(
        load_statement("note_late_starts"),
        {
            "queues": [start.queue for start in starts],
            "noted": [start.noted for start in starts],
            "late": [start.late for start in starts],
        },
    )


async def learn_queues(session: Session, identity: Identity) -> list[tuple[str, bool]]:
    """Return queues of this worker and whether they are claimed apart: those that are, and those of its patterns."""
    cursor = await session.execute(
        load_statement("learn_queues"), {"queues": list(identity.queues), "patterns": list(identity.patterns)}
    )
    return [(row[0], row[1]) for row in await cursor.fetchall()]


async def call_workers(session: Session, queues: Sequence[str]) -> None:
    """Wake workers of these queues that sleep."""
    await session.execute(load_statement("call_workers"), {"queues": list(queues)})


async def release(session: Session, worker: UUID, tasks: Sequence[Claimed]) -> int:
    """Give rows back that this worker will not run; returns how many were still its own."""
    ordered = sorted(tasks)
    cursor = await session.execute(
        load_statement("release_tasks"),
        {
            "worker": worker,
            "ids": [task.id for task in ordered],
            "tokens": [task.fencing_token for task in ordered],
        },
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def release_unheld(
    session: Session, identity: Identity, held: Sequence[int], *, queues: Sequence[str] | None = None
) -> int:
    """Give back the rows that this worker has a lease on and does not hold; returns how many there were.

    ``queues`` are those it serves now, its own by name when left out.
    """
    names = list(identity.queues if queues is None else queues)
    cursor = await session.execute(
        load_statement("release_unheld"), {"queues": names, "worker": identity.id, "held": list(held)}
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def fall_asleep(
    session: Session, identity: Identity, longest: float, *, queues: Sequence[str] | None = None
) -> float | None:
    """Publish that this worker sleeps until the next row of ``queues`` is due, ``longest`` seconds at most.

    Returns those seconds; None when the worker's row is gone and the next heartbeat has to write it again.
    """
    cursor = await session.execute(
        load_statement("fall_asleep"),
        {"queues": list(identity.queues if queues is None else queues), "longest": longest, "worker": identity.id},
    )
    row = await cursor.fetchone()
    return None if row is None else float(row[0])


async def wake_up(session: Session, identity: Identity) -> None:
    """Publish that this worker is busy and need not be notified."""
    await session.execute(load_statement("wake_up"), {"worker": identity.id})


async def forget(session: Session, identity: Identity) -> None:
    """Take the worker's row away."""
    await session.execute(load_statement("forget_worker"), {"worker": identity.id})


async def forget_dead(session: Session) -> None:
    """Take away the rows of workers that died without a word."""
    await session.execute(load_statement("forget_dead_workers"), {})


class Pulse:
    """The heartbeat's own connection. Synchronous: it beats in a thread that no handler can block."""

    def __init__(self, *, dsn: str, identity: Identity) -> None:
        self._dsn = dsn
        self._identity = identity
        self._connection: Any = None
        self._patience = min(max(identity.lease / 2, SHORTEST_PATIENCE), STATEMENT_TIMEOUT)

    def beat(self, tasks: Sequence[Claimed], *, running: int, age: float) -> dict[int, bool]:
        """Show that the worker lives and renew the leases of ``tasks``; returns the ids of those still its own.

        Beside each whether it was renewed: not if somebody had locked the row at that moment.

        ``age`` is the worker's, in seconds. Raises DatabaseUnavailable.
        """
        ordered = sorted(tasks)
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, application_name="pgsched heartbeat", patience=self._patience)
        identity = self._identity
        given = {
            "worker": identity.id,
            "hostname": identity.hostname,
            "pid": identity.pid,
            "queues": list(identity.queues),
            "patterns": list(identity.patterns),
            "task_types": list(identity.task_types),
            "declared_keys": list(identity.declared_keys),
            "concurrency": identity.concurrency,
            "running": running,
            "age": age,
            "lease": identity.lease,
            "ids": [task.id for task in ordered],
            "tokens": [task.fencing_token for task in ordered],
        }
        try:
            with settled(self._connection):
                rows = self._connection.execute(load_statement("beat"), given).fetchall()
        except psycopg.Error as error:
            self.close()
            raise fault_of(error) from error
        return dict(rows)

    def close(self) -> None:
        """Close the connection; the next beat opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
