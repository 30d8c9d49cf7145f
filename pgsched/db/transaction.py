"""The transaction of one attempt: the handler writes in it, then the outcome is written in it, then it is committed.

Its task is not locked while the handler runs, because the heartbeat must renew the lease. The fence of the finish, the
last statement before the commit, rejects a worker that has lost the task.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import Any
from uuid import UUID

import psycopg

from pgsched.concurrency.thread_pool import in_thread
from pgsched.db.connection import AsyncDbConnection, connect_async, settle_transaction
from pgsched.db.error_mapping import RefusedByDatabase, one_line
from pgsched.db.handler_connection import ENDED, UNFINISHED, HandlerConnection, for_handler, is_idle, revoke
from pgsched.db.session import bound_lock_wait
from pgsched.db.sql_files import load_statement
from pgsched.db.worker.completions import Announcement, Command, LogEntry, Progress, finish_commands
from pgsched.domain.attempt import Finish
from pgsched.domain.errors import DatabaseUnavailable, PgschedError

LOCK_SECONDS = 1.5
"""How long a finish waits for a lock, in most cases on the task's row: the handler's own locks are held meanwhile.
Longer than ``deadlock_timeout`` by default, so that a deadlock is reported as one."""
CANCEL_SECONDS = 5.0
"""Time limit for telling the server to stop a statement."""
LOOK_SECONDS = 0.1
"""How often to check a connection that a handler left in use."""


class NotCommitted(PgschedError):
    """The transaction was rolled back, or will be: nothing of the attempt is written."""


class LockedByOthers(NotCommitted):
    """Another session holds a lock that the finish needs, most likely on the task's row."""


class CommitUnanswered(DatabaseUnavailable):
    """The COMMIT was sent but never answered: its result is unknown."""


class Pool:
    """At most ``size`` connections for handlers, in autocommit mode, with the settings of their role and database.

    psycopg_pool is unsuitable here: its workers are asyncio tasks, which a handler that cancels all tasks would end,
    and a connection that a handler's thread still uses can be neither returned nor discarded.
    """

    def __init__(self, *, dsn: str, name: str, size: int, timeout: float) -> None:
        """``timeout``: seconds after which an unresponsive server is abandoned."""
        self._timeout = timeout
        self._dsn = dsn
        self._name = name
        self._free = asyncio.Semaphore(size)
        self._idle: list[AsyncDbConnection] = []
        self._waiting: set[asyncio.Task[None]] = set()
        self._closed = False
        self.open: set[Transaction] = set()
        """The transactions whose handlers may still use them."""

    async def take(self) -> AsyncDbConnection:
        """Return a connection for exclusive use; waits when all are in use. Raises DatabaseUnavailable."""
        await self._free.acquire()
        try:
            while self._idle:
                connection = self._idle.pop()
                if not connection.closed:
                    return connection
            connection = await connect_async(
                self._dsn, application_name=self._name, answer_timeout=self._timeout, own=False
            )
            connection.prepare_threshold = None  # handlers prepare their own statements
        except BaseException:
            self._free.release()
            raise
        return connection

    async def put(self, connection: AsyncDbConnection, *, keep: bool = True) -> None:
        """Take a connection back; one that is closed, or must not be kept, is discarded."""
        self._free.release()
        if keep and not self._closed and not connection.closed:
            self._idle.append(connection)
        else:
            await connection.close()

    async def drop(self, connection: AsyncDbConnection) -> None:
        """Discard a connection that failed, and the idle ones: they may have been lost in the same way."""
        idle, self._idle = self._idle, []
        for other in idle:
            await other.close()
        await self.put(connection, keep=False)

    def put_later(self, connection: AsyncDbConnection, in_use: Callable[[], bool]) -> None:
        """Take a connection back in order to discard it, once nobody uses it: until then it must not be touched."""

        async def wait() -> None:
            while in_use():  # noqa: ASYNC110 - by a task or a thread of a handler, which does not report it
                await asyncio.sleep(LOOK_SECONDS)
            await self.put(connection, keep=False)

        task = asyncio.create_task(wait(), name=f"{self._name} in use")
        self._waiting.add(task)
        task.add_done_callback(self._waiting.discard)

    def leave(self, connection: AsyncDbConnection) -> None:  # noqa: ARG002
        """Let go of a connection that a thread still uses and that cannot be waited for: it ends with the thread."""
        self._free.release()

    async def close(self) -> None:
        """Close unused connections; those that come back later are closed then."""
        self._closed = True
        while self._idle:
            await self._idle.pop().close()


class Transaction:
    """One attempt's transaction, started by :func:`begin`. Ends with :meth:`release` or :meth:`leave`."""

    def __init__(self, pool: Pool, connection: AsyncDbConnection, since: datetime, role: str, *, plain: bool) -> None:
        """``since`` and ``role``: when it started, and as whom."""
        self._pool = pool
        self._connection = connection
        self._since = since
        self._role = role
        self._keep = True
        self._stopping: asyncio.Future[None] | None = None
        self._keeping: asyncio.Task[None] | None = None
        self.handler_connection = for_handler(connection, plain=plain)
        pool.open.add(self)

    def keep(self, task: asyncio.Task[None]) -> None:
        """Note the task that runs :meth:`use`; :meth:`settle` waits for it."""
        self._keeping = task

    async def use(self) -> None:
        """Send a statement of no effect, unless the handler's are in progress: an idle transaction may be ended."""
        handlers = self.handler_connection
        if handlers.lock.locked() or not is_idle(handlers):
            return
        if isinstance(handlers, HandlerConnection):
            if not handlers.lock.acquire(blocking=False):  # its thread was faster
                return
        else:
            await handlers.lock.acquire()
        try:
            if is_idle(handlers):
                await self._connection.execute(load_statement("keep_transaction"), prepare=False)
        except psycopg.Error:
            pass  # the connection is lost: the handler's next statement, or the finish, reports it
        finally:
            handlers.lock.release()

    async def settle(self) -> None:
        """Wait for the end of :meth:`use`, once the handler no longer runs: its statement is none of the handler's."""
        self._pool.open.discard(self)
        if self._keeping is not None and not self._keeping.done():
            await asyncio.wait([self._keeping])

    def revoke(self) -> str | None:
        """End the handler's use of its connection; returns why the transaction cannot be committed, None if it can."""
        self._pool.open.discard(self)
        problem = revoke(self.handler_connection)
        self._keep = self._keep and problem != UNFINISHED
        return problem

    def stop_statement(self) -> None:
        """End the use of a handler that still runs in its thread: its statement is cancelled, any other refused."""
        self.revoke()
        self._keep = False  # the cancel may arrive late, and must not hit the next user's statement
        if isinstance(self.handler_connection, HandlerConnection):
            cancel = partial(self.handler_connection.cancel_safe, timeout=CANCEL_SECONDS)
            self._stopping = in_thread(cancel, name="pgsched cancel")

    async def run(self, command: Command) -> list[tuple[Any, ...]]:
        """Run a statement of our own after the handler's; returns its rows. Raises like :meth:`write`."""
        (rows,) = await self._run_all([command])
        return rows

    async def write(
        self,
        worker: UUID,
        finish: Finish,
        progress: Sequence[Progress],
        logs: Sequence[LogEntry],
        now: float,
        told: Sequence[Announcement] = (),
    ) -> bool:
        """Write the outcome; returns whether it passed the fence. Otherwise it must be rolled back.

        Raises RefusedByDatabase when the server rejects the values, LockedByOthers when a lock was not granted in
        time, NotCommitted for any other problem.
        """
        commands, counted = finish_commands(worker, [finish], progress, logs, now, told)
        _, *answers = await self._run_all([bound_lock_wait(LOCK_SECONDS, once=True), *commands])
        return bool(sum(row[0] for rows in answers[counted] for row in rows))

    async def _run_all(self, commands: Sequence[Command]) -> list[list[tuple[Any, ...]]]:
        connection = self._connection
        try:
            async with connection.pipeline():
                tuned = await connection.execute(load_statement("tune_transaction"), {"role": self._role}, binary=True)
                await settle_transaction(connection)
                cursors = [
                    await connection.execute(statement, parameters, binary=True) for statement, parameters in commands
                ]
            since = await tuned.fetchone()
            answers = [await cursor.fetchall() if cursor.description else [] for cursor in cursors]
        except (psycopg.DataError, psycopg.IntegrityError) as error:
            raise RefusedByDatabase(one_line(error)) from error
        except psycopg.errors.LockNotAvailable as error:
            raise LockedByOthers(f"another session held a lock that the outcome needs: {one_line(error)}") from error
        except psycopg.Error as error:
            raise NotCommitted(f"the outcome could not be written: {one_line(error)}") from error
        if since is None or since[0] != self._since:
            raise NotCommitted(ENDED)
        return answers

    async def commit(self) -> None:
        """Commit. Raises NotCommitted when the server refused, CommitUnanswered when its answer was lost."""
        try:
            await self._connection.commit()
        except psycopg.Error as error:
            if error.diag.severity_nonlocalized == "ERROR":
                raise NotCommitted(f"the commit was refused: {one_line(error)}") from error
            self._keep = False
            raise CommitUnanswered(one_line(error)) from error
        except BaseException:
            self._keep = False
            raise

    async def rollback(self) -> None:
        """Roll everything back; closing the connection has the same effect when the server does not answer."""
        if self._stopping is not None:
            await asyncio.gather(self._stopping, return_exceptions=True)
        if not self._keep or self._connection.closed:
            self._keep = False
            return
        try:
            await self._connection.rollback()
        except psycopg.Error:
            self._keep = False

    async def release(self) -> None:
        """Return the connection in its original state: without the handler's settings, locks or statements."""
        if self.handler_connection.lock.locked():
            self._pool.put_later(self._connection, self.handler_connection.lock.locked)
            return
        keep, self._keep = self._keep, False
        try:
            if keep and self._connection.pooled:
                self._keep = True  # session settings are not in a session of ours: the pooler takes care of its own
            elif keep and not self._connection.closed:
                await self._connection.execute(load_statement("reset_session"))
                self._keep = True
        except psycopg.Error:
            pass  # it is discarded
        finally:
            await self._pool.put(self._connection, keep=self._keep)

    def leave(self) -> None:
        """Let go of a connection that the handler may still be using: no further statement gets through on it."""
        self.revoke()
        self._pool.leave(self._connection)


async def begin(pool: Pool, *, plain: bool) -> Transaction:
    """Start a transaction for a plain handler or an ``async`` one. Raises DatabaseUnavailable."""
    connection = await pool.take()
    try:
        async with connection.pipeline():
            await connection.execute(load_statement("begin_transaction"))
            cursor = await connection.execute(load_statement("show_transaction"), binary=True)
        row: Any = await cursor.fetchone()
    except psycopg.Error as error:
        await pool.drop(connection)
        raise DatabaseUnavailable(one_line(error)) from error
    except BaseException:
        await pool.put(connection, keep=False)
        raise
    since, role, _timeout = row
    return Transaction(pool, connection, since, role, plain=plain)
