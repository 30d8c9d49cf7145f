"""A worker's statements about rows that it has claimed (renew, release) and its own row (sleep, wake, leave)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from pgsched import __version__
from pgsched.db.adapt import BigInts
from pgsched.db.session import STATEMENT_TIMEOUT, Session, ThreadSession, by_column
from pgsched.db.sql_files import load_statement
from pgsched.domain.attempt import Claimed

UNSERVED_CAP = 1000
"""Number of due rows of a queue's priority that are searched for types without a handler."""
SHORTEST_TIMEOUT = 1.0
"""Seconds; a heartbeat waits half a lease for its answer, so that it can renew it by another connection."""


@dataclass(frozen=True, kw_only=True)
class Identity:
    """The identity of this worker, as its row in ``pgsched.workers`` shows it."""

    id: UUID
    hostname: str
    pid: int
    queues: tuple[str, ...]
    task_types: tuple[str, ...]
    declared_keys: tuple[str, ...]
    """The idempotency keys of the schedules that its code declares."""
    concurrency: int
    lease: float
    code_version: str | None = None
    """The version of the application."""
    patterns: tuple[str, ...] = ()
    """It also serves the queues that match one of these LIKE patterns."""
    context_types: tuple[str, ...] = ()
    """The types whose handlers take a context: a claim returns the complete row only for them."""
    catches_with_context: bool = False
    """Whether the catch-all takes one as well."""
    also: list[str] = field(default_factory=list, compare=False)
    """The types that only its catch-all handles, and no other worker; they change while it works."""

    @property
    def claimed_types(self) -> list[str]:
        """The types of the tasks that it claims."""
        return [*self.task_types, *self.also]

    @property
    def told_types(self) -> list[str]:
        """The types of the tasks whose handlers may use the complete row."""
        return [*self.context_types, *(self.also if self.catches_with_context else ())]


class LateStart(NamedTuple):
    """Starts that came ``late`` seconds after they were recorded."""

    queue: str
    noted: datetime
    late: float


class Lease(NamedTuple):
    """One claim of a task."""

    id: int
    fencing_token: int


class Request(NamedTuple):
    """A request to a worker."""

    what: str | None
    """``pause`` or ``drain``; None to work."""
    by: str | None = None
    at: datetime | None = None


NO_REQUEST: Final = Request(None)


async def note_late_starts(session: Session, starts: Sequence[LateStart]) -> None:
    """Let starts count from when they happened."""
    await session.fetch(load_statement("note_late_starts"), **by_column(starts, "queues", "noted", "late"))


async def learn_queues(session: Session, identity: Identity) -> list[tuple[str, bool]]:
    """Return queues of this worker and whether they are limited: limited ones, and those of its patterns."""
    queues, patterns = list(identity.queues), list(identity.patterns)
    rows = await session.fetch(load_statement("learn_queues"), queues=queues, patterns=patterns)
    return [(row[0], row[1]) for row in rows]


async def find_unserved_types(session: Session, identity: Identity, queues: Sequence[str]) -> list[str]:
    """Return the types of due tasks in these queues that no other live worker of them has a handler for, and those that
    this worker has taken over for that reason and that still have none.
    """
    rows = await session.fetch(
        load_statement("find_unserved_types"),
        queues=list(queues),
        worker=identity.id,
        task_types=list(identity.task_types),
        known=list(identity.also),
        cap=UNSERVED_CAP,
    )
    return [row[0] for row in rows]


async def wake_workers(session: Session, queues: Sequence[str]) -> None:
    """Wake sleeping workers of these queues."""
    await session.fetch(load_statement("wake_workers"), queues=list(queues))


async def release(session: Session, worker: UUID, tasks: Sequence[Claimed] | Sequence[Lease]) -> int:
    """Release rows that this worker will not run; returns how many were still its own, and locked by nobody."""
    rows = await session.fetch(load_statement("release_tasks"), worker=worker, **_ids_and_tokens(tasks))
    return int(rows[0][0]) if rows else 0


async def extend_lease(session: Session, worker: UUID, task: Claimed, seconds: float) -> None:
    """Let the lease of a task that is still this worker's end so many seconds from now."""
    given = {"worker": worker, "id": task.id, "token": task.fencing_token, "seconds": seconds}
    await session.execute(load_statement("extend_lease"), given)


async def find_orphaned_claims(
    session: Session, identity: Identity, held: Sequence[int], *, queues: Sequence[str]
) -> list[Lease]:
    """Return the claims that this worker has made of rows in ``queues`` and does not hold."""
    statement = load_statement("find_orphaned_claims")
    rows = await session.fetch(statement, queues=list(queues), worker=identity.id, held=BigInts(held))
    return [Lease(*row) for row in rows]


async def mark_begun(session: Session, worker: UUID, tasks: Sequence[Claimed]) -> set[int]:
    """Count the attempts of prefetched rows; returns the ids of those that nobody has locked."""
    rows = await session.fetch(load_statement("mark_begun"), worker=worker, **_ids_and_tokens(tasks))
    return {row[0] for row in rows}


def _ids_and_tokens(tasks: Sequence[Claimed] | Sequence[Lease]) -> dict[str, BigInts]:
    """In the order of ids, in which all rows are locked."""
    ordered = sorted((task.id, task.fencing_token) for task in tasks)
    return {"ids": BigInts(task_id for task_id, _ in ordered), "tokens": BigInts(token for _, token in ordered)}


async def fall_asleep(
    session: Session, identity: Identity, longest: float, *, queues: Sequence[str] | None = None
) -> float | None:
    """Publish that this worker sleeps until the next row of ``queues`` is due, at most ``longest`` seconds.

    Returns those seconds; None when the worker's row is gone and the next heartbeat must write it again.
    """
    served = list(identity.queues if queues is None else queues)
    rows = await session.fetch(load_statement("fall_asleep"), queues=served, longest=longest, worker=identity.id)
    return float(rows[0][0]) if rows else None


async def wake_up(session: Session, identity: Identity) -> None:
    """Publish that this worker is busy and need not be notified."""
    await session.fetch(load_statement("wake_up"), worker=identity.id)


async def forget(session: Session, identity: Identity) -> None:
    """Delete the worker's row."""
    await session.fetch(load_statement("forget_worker"), worker=identity.id)


async def forget_dead(session: Session) -> None:
    """Delete the rows of workers that died without a shutdown."""
    await session.fetch(load_statement("forget_dead_workers"))


class HeartbeatConnection:
    """The heartbeat's own connection. Synchronous: it beats in a thread that no handler can block."""

    def __init__(self, *, dsn: str, identity: Identity) -> None:
        self._identity = identity
        self.request = NO_REQUEST
        """The request to the worker, as of the last beat."""
        timeout = min(max(identity.lease / 2, SHORTEST_TIMEOUT), STATEMENT_TIMEOUT)
        self._session = ThreadSession(dsn=dsn, name="pgsched heartbeat", timeout=timeout)

    def beat(
        self,
        tasks: Sequence[Claimed],
        *,
        running: int,
        age: float,
        troubles: Sequence[Mapping[str, Any]] = (),
        state: str = "active",
    ) -> dict[int, bool]:
        """Show that the worker is alive and renew the leases of ``tasks``; returns the ids of those still its own.

        With each, whether it was renewed: not if somebody had locked the row at that moment.

        ``age`` is the worker's, in seconds; ``troubles`` are its problems, ``state`` is its state.

        Raises DatabaseUnavailable.
        """
        ordered = sorted(tasks)
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
            "troubles": json.dumps(list(troubles)),
            "age": age,
            "lease": identity.lease,
            "pgsched_version": __version__,
            "code_version": identity.code_version,
            "state": state,
            "request": self.request.what,
            "requested_by": self.request.by,
            "requested_at": self.request.at,
            "ids": [task.id for task in ordered],
            "tokens": [task.fencing_token for task in ordered],
        }
        with self._session.settled() as connection:
            rows: list[Any] = connection.execute(load_statement("beat"), given).fetchall()
        own: dict[int, bool] = {}
        for id, renewed, *asked in rows:
            if id is None:
                self.request = Request(*asked)
            else:
                own[id] = renewed
        return own

    def close(self) -> None:
        """Close the connection; the next beat opens another."""
        self._session.close()
