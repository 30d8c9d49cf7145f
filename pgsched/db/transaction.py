"""The transaction of one attempt: the handler writes in it, then the outcome is written in it, then it is committed.

Its task is not locked while the handler runs: the heartbeat has to renew the lease. What keeps a worker out that lost
the task is the fence of the finish, the last statement before the commit.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.connection import settle_transaction
from pgsched.db.error_mapping import RefusedByDatabase, one_line
from pgsched.db.handler_connection import ENDED, UNFINISHED, HandlerConnection, lend, take_back
from pgsched.db.pool import Pool, PooledConnection
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.completions import Announcement, LogEntry, Progress, finish_commands
from pgsched.domain.attempt import Finish
from pgsched.domain.errors import DatabaseUnavailable, PgschedError

CANCEL_SECONDS = 5.0
"""How long the server may take to be told to stop a statement."""


class NotCommitted(PgschedError):
    """The transaction was rolled back, or will be: nothing of the attempt is written."""


class CommitUnanswered(DatabaseUnavailable):
    """The COMMIT was sent and its answer never came: nobody knows whether it was done."""


class Transaction:
    """One attempt's transaction, begun by :func:`begin`. Ends with :meth:`release` or :meth:`leave`."""

    def __init__(self, pool: Pool, connection: PooledConnection, since: datetime, role: str, *, plain: bool) -> None:
        """``since`` and ``role``: when it began, and as whom."""
        self._pool = pool
        self._connection = connection
        self._since = since
        self._role = role
        self._keep = True
        self._stopping: asyncio.Future[None] | None = None
        self.lent = lend(connection, plain=plain)
        """The handler's connection."""

    def take_back(self) -> str | None:
        """End the handler's use of its connection; returns why the transaction cannot be committed, None if it can."""
        problem = take_back(self.lent)
        self._keep = self._keep and problem != UNFINISHED
        return problem

    def stop_statement(self) -> None:
        """End the use of a handler that still runs in its thread: its statement is cancelled, any other refused."""
        self.take_back()
        self._keep = False  # the cancel may come late, and must not strike what the next does
        if isinstance(self.lent, HandlerConnection):
            cancel = partial(self.lent.cancel_safe, timeout=CANCEL_SECONDS)
            self._stopping = in_thread(cancel, name="pgsched cancel")

    async def write(
        self,
        worker: UUID,
        finish: Finish,
        progress: Sequence[Progress],
        logs: Sequence[LogEntry],
        now: float,
        told: Sequence[Announcement] = (),
    ) -> bool:
        """Write the outcome; returns whether it passed the fence. What did not is to be rolled back.

        Raises RefusedByDatabase when the server refuses the values, NotCommitted for any other trouble.
        """
        commands, counted = finish_commands(worker, [finish], progress, logs, now, told)
        connection = self._connection
        try:
            async with asyncio.timeout(self._pool.timeout), connection.pipeline():
                tuned = await connection.execute(load_statement("tune_transaction"), {"role": self._role}, binary=True)
                await settle_transaction(connection)
                cursors = [
                    await connection.execute(statement, parameters, binary=True) for statement, parameters in commands
                ]
            since = await tuned.fetchone()
            passed = [row[0] for cursor in cursors[counted] for row in await cursor.fetchall()]
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise RefusedByDatabase(one_line(error)) from error
        except psycopg.Error as error:
            raise NotCommitted(f"the outcome could not be written: {one_line(error)}") from error
        except TimeoutError as error:
            self._keep = False
            raise NotCommitted(
                f"the outcome could not be written: no answer within {self._pool.timeout:g} s"
            ) from error
        if since is None or since[0] != self._since:
            raise NotCommitted(ENDED)
        return bool(sum(passed))

    async def commit(self) -> None:
        """Commit. Raises NotCommitted when the server refused, CommitUnanswered when its answer was lost."""
        try:
            async with asyncio.timeout(self._pool.timeout):
                await self._connection.commit()
        except psycopg.Error as error:
            if error.diag.severity_nonlocalized == "ERROR":
                raise NotCommitted(f"the commit was refused: {one_line(error)}") from error
            self._keep = False
            raise CommitUnanswered(one_line(error)) from error
        except TimeoutError as error:
            self._keep = False
            raise CommitUnanswered(f"no answer within {self._pool.timeout:g} s") from error
        except BaseException:
            self._keep = False
            raise

    async def rollback(self) -> None:
        """Undo everything; closing the connection does so too where the server does not answer."""
        if self._stopping is not None:
            await asyncio.gather(self._stopping, return_exceptions=True)
        if not self._keep or self._connection.closed:
            self._keep = False
            return
        try:
            async with asyncio.timeout(self._pool.timeout):
                await self._connection.rollback()
        except (psycopg.Error, TimeoutError):
            self._keep = False

    async def release(self) -> None:
        """Give the connection back, as new: without settings, locks or prepared statements of the handler."""
        if self.lent.lock.locked():
            self._pool.put_later(self._connection, self.lent.lock.locked)
            return
        keep, self._keep = self._keep, False
        try:
            if keep and self._connection.pooled:
                self._keep = True  # whatever was set for a session is not in ours: the pooler sees to its own
            elif keep and not self._connection.closed:
                async with asyncio.timeout(self._pool.timeout):
                    await self._connection.execute(load_statement("reset_session"))
                self._keep = True
        except (psycopg.Error, TimeoutError):
            pass  # it is thrown away
        finally:
            await self._pool.put(self._connection, keep=self._keep)

    def leave(self) -> None:
        """Let go of a connection that the handler may still be using: it gets no further statement through."""
        self.take_back()
        self._pool.leave(self._connection)


async def begin(pool: Pool, *, plain: bool) -> Transaction:
    """Begin a transaction for a plain handler or an ``async`` one. Raises DatabaseUnavailable."""
    connection = await pool.take()
    try:
        async with asyncio.timeout(pool.timeout), connection.pipeline():
            await connection.execute(load_statement("begin_transaction"))
            cursor = await connection.execute(load_statement("show_transaction"), binary=True)
        row: Any = await cursor.fetchone()
    except psycopg.Error as error:
        await pool.drop(connection)
        raise DatabaseUnavailable(one_line(error)) from error
    except TimeoutError as error:
        await pool.drop(connection)
        raise DatabaseUnavailable(f"no answer within {pool.timeout:g} s") from error
    except BaseException:
        await pool.put(connection, keep=False)
        raise
    since, role, _timeout = row
    return Transaction(pool, connection, since, role, plain=plain)
