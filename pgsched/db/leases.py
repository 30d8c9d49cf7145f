"""What a worker does with rows that are not finished: claim, renew, release; and its own row: sleep, wake, leave."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from pgsched.db.connect import connect
from pgsched.db.session import Session, one_line
from pgsched.db.statements import load_statement
from pgsched.errors import DatabaseUnavailable
from pgsched.model import Claimed

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


@dataclass(frozen=True, slots=True)
class Probe:
    """Where a claim looks: one queue and priority, after the last row that was claimed there."""

    queue: str
    priority: int
    floor_at: datetime | None = None
    floor_id: int | None = None


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


async def release(session: Session, tasks: Sequence[Claimed]) -> int:
    """Give rows back that this worker will not run; returns how many were still its own."""
    ordered = sorted(tasks)
    cursor = await session.execute(
        load_statement("release_tasks"),
        {"ids": [task.id for task in ordered], "tokens": [task.fencing_token for task in ordered]},
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def release_unheld(session: Session, identity: Identity, held: Sequence[int]) -> int:
    """Give back the rows that this worker has a lease on and does not hold; returns how many there were."""
    cursor = await session.execute(
        load_statement("release_unheld"),
        {"queues": list(identity.queues), "worker": identity.id, "held": list(held)},
    )
    row = await cursor.fetchone()
    return int(row[0]) if row else 0


async def fall_asleep(session: Session, identity: Identity, longest: float) -> float | None:
    """Publish that this worker sleeps until the next row is due, ``longest`` seconds at most.

    Returns those seconds; None when the worker's row is gone and the next heartbeat has to write it again.
    """
    cursor = await session.execute(
        load_statement("fall_asleep"),
        {"queues": list(identity.queues), "longest": longest, "worker": identity.id},
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

    def beat(self, tasks: Sequence[Claimed], *, running: int, age: float) -> set[int]:
        """Show that the worker lives and renew the leases of ``tasks``; returns the ids that were renewed.

        ``age`` is the worker's, in seconds. Raises DatabaseUnavailable.
        """
        ordered = sorted(tasks)
        if self._connection is None or self._connection.closed:
            self._connection = connect(self._dsn, application_name="pgsched heartbeat")
        identity = self._identity
        try:
            rows = self._connection.execute(
                load_statement("beat"),
                {
                    "worker": identity.id,
                    "hostname": identity.hostname,
                    "pid": identity.pid,
                    "queues": list(identity.queues),
                    "task_types": list(identity.task_types),
                    "declared_keys": list(identity.declared_keys),
                    "concurrency": identity.concurrency,
                    "running": running,
                    "age": age,
                    "lease": identity.lease,
                    "ids": [task.id for task in ordered],
                    "tokens": [task.fencing_token for task in ordered],
                },
            ).fetchall()
        except psycopg.Error as error:
            self.close()
            raise DatabaseUnavailable(one_line(error)) from error
        return {row[0] for row in rows}

    def close(self) -> None:
        """Close the connection; the next beat opens another."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()
