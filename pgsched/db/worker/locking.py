"""Rows that are locked, not leased: a transaction that stays open while their handlers run.

It starts with the lock and ends with the results: finishes of what has ended, leases of what has not. Whatever ends it
before that, a lost connection or a dead process, releases the rows at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple
from uuid import UUID

import psycopg
from psycopg import AsyncCursor
from psycopg.pq import ConnStatus, TransactionStatus

from pgsched.db.adapt import BigInts, Doubles
from pgsched.db.connection import AsyncDbConnection, settle_transaction
from pgsched.db.error_mapping import RefusedByDatabase, one_line
from pgsched.db.session import Rows, Session
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.claims import Batch, Probe, probe_parameters, read_batch
from pgsched.db.worker.completions import Command, finish_times
from pgsched.db.worker.decoding import SpoiledRows, fetch_rows
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Claimed, Finish
from pgsched.domain.errors import DatabaseUnavailable


class TransactionLost(DatabaseUnavailable):
    """The transaction ended, and nothing of it is in the table."""


class CommitUnanswered(DatabaseUnavailable):
    """The COMMIT was sent, or may have been, but never answered: its result is unknown."""


class LeaseLater(NamedTuple):
    """A row that gets its lease at the end of the transaction."""

    task: Claimed
    started_ago: float
    unbegun: bool


class LostAttempt(NamedTuple):
    """An attempt that was lost with its transaction. Times are by the worker's monotonic clock, in seconds."""

    task: Claimed
    started: float
    ended: float


class LockingSession(Session):
    """A session for such transactions, one after the other."""

    def __init__(self, *, dsn: str, name: str, timeout: float, lease: float) -> None:
        """``lease``: seconds of silence after which the server ends the transaction."""
        super().__init__(dsn=dsn, name=name, tuned=True, timeout=timeout)
        self._idle_milliseconds = f"{1000 * lease:.0f}"

    async def lock(
        self,
        identity: Identity,
        probes: Sequence[Probe],
        limit: int,
        *,
        max_bytes: int,
        set_aside: Sequence[int],
        locked_types: Sequence[str],
    ) -> Batch | None:
        """Start, and lock up to ``limit`` due rows; those that may run before they are leased are ``lockable``.

        Returns None, and has ended the transaction, when a value of some row cannot be read. Raises like
        :meth:`Session.execute`, and has locked nothing then.
        """
        given = {
            **probe_parameters(identity, probes, limit, set_aside),
            "bytes": max_bytes,
            "locked_types": list(locked_types),
        }
        async with self._guarded() as connection:
            async with connection.pipeline():
                await connection.execute(load_statement("begin_locking"), prepare=not connection.pooled)
                if connection.pooled:
                    await settle_transaction(connection)
                    await self._set_up(connection)
                cursor = await connection.execute(
                    load_statement("lock_tasks"), given, prepare=not connection.pooled, binary=True
                )
            rows = await fetch_rows(cursor)
        if not rows or isinstance(rows, SpoiledRows):
            # Not a rollback, after which psycopg forgets what it has prepared.
            await self._commit_unchanged()
            return None if rows else Batch([], [])
        return read_batch(rows)

    @contextmanager
    def watched(self, on_lost: Callable[[], None]) -> Iterator[None]:
        """Call ``on_lost`` if the connection is lost meanwhile. Nothing else may use it. Raises TransactionLost."""
        server, loop = self._begun().pgconn, asyncio.get_running_loop()
        socket = server.socket

        def read() -> None:
            loop.remove_reader(socket)  # libpq closes a lost connection
            try:
                server.consume_input()
            except psycopg.Error:
                on_lost()
                return
            if server.status == ConnStatus.BAD:
                on_lost()
            else:  # a notice, or the last message of a server: its end follows
                loop.add_reader(socket, read)

        loop.add_reader(socket, read)
        try:
            yield
        finally:
            if server.status != ConnStatus.BAD:
                loop.remove_reader(socket)

    async def commit(self, commands: Sequence[Command]) -> list[Rows]:
        """Run statements, then commit; returns the rows of each.

        In two messages: without an answer to the first the transaction is lost, and only the COMMIT may have an unknown
        result. Raises RefusedByDatabase when a statement was rejected: nothing is written, and the rows remain locked.
        Raises TransactionLost, or CommitUnanswered.
        """
        answers = await self.run(*commands) if commands else []
        connection = self._begun()
        try:
            async with asyncio.timeout(self.timeout):
                await connection.execute(load_statement("commit"), prepare=not connection.pooled)
        except psycopg.Error as error:
            answered = connection.info.transaction_status == TransactionStatus.IDLE
            await self.close()
            raise (TransactionLost if answered else CommitUnanswered)(one_line(error)) from error
        except TimeoutError as error:
            await self.close()
            raise CommitUnanswered(f"no answer within {self.timeout:g} s") from error
        except BaseException:
            await self.close()
            raise
        return answers

    async def run(self, *commands: Command) -> list[Rows]:
        """Run statements in the transaction; returns the rows of each. A rejected one undoes them all.

        Raises RefusedByDatabase or TransactionLost.
        """
        connection = self._begun()
        try:
            async with asyncio.timeout(self.timeout), connection.pipeline():
                await connection.execute(load_statement("begin_savepoint"), prepare=not connection.pooled)
                cursors = [
                    await connection.execute(statement, given, prepare=not connection.pooled, binary=True)
                    for statement, given in commands
                ]
            return [await cursor.fetchall() if cursor.description else [] for cursor in cursors]
        except psycopg.Error as error:
            if connection.info.transaction_status == TransactionStatus.INERROR:
                await self._undo(connection)
                raise RefusedByDatabase(one_line(error)) from error
            await self.close()
            raise TransactionLost(one_line(error)) from error
        except TimeoutError as error:
            await self.close()
            raise TransactionLost(f"no answer within {self.timeout:g} s") from error
        except BaseException:
            await self.close()
            raise

    async def _commit_unchanged(self) -> None:
        """End a transaction that has written nothing. Behind a pooler :meth:`execute` would begin one within it."""
        async with self._guarded() as connection:
            await connection.execute(load_statement("commit"), prepare=not connection.pooled)

    def _begun(self) -> AsyncDbConnection:
        connection = self._connection
        if connection is None or connection.closed:
            raise TransactionLost("the connection was lost")
        return connection

    async def _undo(self, connection: AsyncDbConnection) -> None:
        try:
            async with asyncio.timeout(self.timeout):
                await connection.execute(load_statement("undo_savepoint"))
        except (psycopg.Error, TimeoutError) as error:
            await self.close()
            raise TransactionLost(one_line(error)) from error

    async def _set_up(self, connection: AsyncDbConnection) -> None:
        await super()._set_up(connection)
        given = {"milliseconds": self._idle_milliseconds, "pooled": connection.pooled}
        await connection.execute(load_statement("bound_idle_transaction"), given)


def finish_locked(worker: UUID, finishes: Sequence[Finish], now: float) -> Command:
    """Return the command that ends locked rows that completed. ``now`` as in ``completions.write``."""
    return load_statement("finish_locked"), finish_times(sorted(finishes), worker, now)


def lease_locked(identity: Identity, rows: Sequence[LeaseLater]) -> Command:
    """Return the command that leases locked rows; it returns the ids of those that it leased."""
    ordered = sorted(rows, key=lambda row: row.task.id)
    return load_statement("lease_locked"), {
        "worker": identity.id,
        "lease": identity.lease,
        "ids": BigInts(row.task.id for row in ordered),
        "tokens": BigInts(row.task.fencing_token for row in ordered),
        "started_ago": Doubles(row.started_ago for row in ordered),
        "unbegun": [row.unbegun for row in ordered],
    }


def mark_lock_lost(tasks: Sequence[Claimed]) -> Command:
    """Return the command that keeps the mark of rows whose lock was lost before, and that are let go."""
    return load_statement("mark_lock_lost"), {"ids": BigInts(sorted(task.id for task in tasks))}


async def find_locked_ends(session: Session, worker: UUID, tasks: Sequence[Claimed]) -> tuple[set[int], set[int]]:
    """Return the ids of those rows that are leased to this worker by their token, and of those that have ended with it.

    For a COMMIT without an answer. Raises DatabaseUnavailable, also while that transaction has not ended.
    """
    ordered = sorted((task.id, task.fencing_token) for task in tasks)
    cursor = await session.execute(
        load_statement("find_locked_ends"),
        {
            "worker": worker,
            "ids": BigInts(task_id for task_id, _ in ordered),
            "tokens": BigInts(token for _, token in ordered),
        },
    )
    rows = await cursor.fetchall()
    return {row[0] for row in rows if row[1]}, {row[0] for row in rows if row[2]}


async def insert_lost(session: Session, worker: UUID, lost: Sequence[LostAttempt], now: float) -> None:
    """Record attempts that were lost with their transaction in the history, as number 0: they do not count."""
    cursor: AsyncCursor[tuple[Any, ...]] = await session.execute(
        load_statement("insert_lost"),
        {
            "worker": worker,
            "ids": BigInts(one.task.id for one in lost),
            "tokens": BigInts(one.task.fencing_token for one in lost),
            "task_types": [one.task.task_type for one in lost],
            "queues": [one.task.queue for one in lost],
            "scheduled": [one.task.scheduled_for for one in lost],
            "started_ago": Doubles(now - one.started for one in lost),
            "ended_ago": Doubles(now - one.ended for one in lost),
        },
    )
    await cursor.close()
