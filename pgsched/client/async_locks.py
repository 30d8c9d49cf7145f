"""Named locks for event loops."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from uuid import UUID, uuid4

from pgsched.client.lease import Lease, holder, pauses, refuse_reuse
from pgsched.concurrency.async_primitives import Background, Event, sleep, uninterrupted
from pgsched.db.async_database import AsyncDatabase
from pgsched.db.queries import locks as lock_commands
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import LockInfo


class AsyncHeld(Lease):
    """A lock held by this process, renewed by an asyncio task: code that blocks the event loop loses it."""

    def __init__(
        self, name: str, token: int, *, ttl: float, asked_at: float, owner: UUID, database: AsyncDatabase
    ) -> None:
        super().__init__(name, token, ttl=ttl, asked_at=asked_at)
        self._owner = owner
        self._database = database
        self._ended = Event()
        self._renewal = Background(self._renew_always, name=f"pgsched lock {name}")

    async def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or released, at most ``timeout`` seconds; return whether it is lost."""
        ends = None if timeout is None else monotonic() + timeout
        while not self._released and not self.lost:
            left = None if ends is None else ends - monotonic()
            if left is not None and left <= 0:
                break
            await self._ended.wait(self.remaining if left is None else min(left, self.remaining))
        return self.lost

    async def release(self) -> bool:
        """Release the lock; return whether it was still ours. Safe to call again. Raises DatabaseUnavailable."""
        if self._released or self.inherited:
            return False
        self._taken, self._released = self.lost, True
        self._ended.set()
        await self._renewal.join()  # a renewal in progress must not find the lock gone
        if not await self._database.run(lock_commands.release(self.name, self._owner)):
            self._taken = True
        return not self._taken

    async def _renew_always(self) -> None:
        pause = self.ttl / 3
        while not await self._ended.wait(pause):
            asked_at = monotonic()
            try:
                kept = await self._database.run(lock_commands.renew(self.name, self._owner, ttl=self.ttl))
            except PgschedError as error:
                pause = self.postpone(error)
                continue
            if not self.take_answer(kept, asked_at):
                self._ended.set()
                return
            pause = self.ttl / 3


class AsyncLock:
    """A named lock, from :meth:`pgsched.AsyncClient.lock`; in an ``async with`` it is held until the end.

    The ``async with`` raises LockNotAcquired when the lock was not free within the timeout, and at its end LockLost
    when the lock was lost meanwhile.
    """

    def __init__(self, database: AsyncDatabase, name: str, *, ttl: float, timeout: float | None) -> None:
        self._database = database
        self.name = lock_commands.lock_name(name)
        self.ttl = lock_commands.lock_ttl(name, ttl)
        self._timeout = lock_commands.lock_timeout(name, timeout)
        self._held: AsyncHeld | None = None

    async def acquire(self) -> AsyncHeld:
        """Wait for the lock and acquire it. Raises LockNotAcquired when the timeout expires first."""
        waiting = pauses(self.name, self._timeout, began=monotonic())
        while (held := await self.try_acquire()) is None:
            await sleep(next(waiting))
        return held

    async def try_acquire(self) -> AsyncHeld | None:
        """Acquire the lock if it is free; None when somebody holds it. Raises DatabaseUnavailable."""
        owner = uuid4()
        asked_at = monotonic()
        try:
            token = await self._database.run(lock_commands.acquire(self.name, owner, ttl=self.ttl, holder=holder()))
        except PgschedError:
            raise
        except BaseException:
            # Interrupted when the lock may already be ours: nobody would renew it while others wait.
            with suppress(PgschedError):
                await uninterrupted(lambda: self._database.run(lock_commands.release(self.name, owner)))
            raise
        if token is None:
            return None
        return AsyncHeld(self.name, token, ttl=self.ttl, asked_at=asked_at, owner=owner, database=self._database)

    async def __aenter__(self) -> AsyncHeld:
        refuse_reuse(self.name, self._held)
        self._held = await self.acquire()
        return self._held

    async def __aexit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        held, self._held = self._held, None
        assert held is not None  # noqa: S101
        await uninterrupted(held.release)  # nobody else would release the lock
        if error is None:
            held.check()


class AsyncLockClient:
    """The part of :class:`pgsched.AsyncClient`."""

    _database: AsyncDatabase

    def lock(self, name: str, *, ttl: float = 30, timeout: float | None = None) -> AsyncLock:
        """Return a named lock, for an ``async with``: its body runs in one place only.

        It is valid for ``ttl`` seconds (1 to 86,400) and renewed while the event loop runs. Callers wait for it at most
        ``timeout`` seconds, None for ever. Raises InvalidLock.
        """
        return AsyncLock(self._database, name, ttl=ttl, timeout=timeout)

    async def locks(self) -> list[LockInfo]:
        """Return every lock that has not been released."""
        return await self._database.run(lock_commands.list_locks())

    async def break_lock(self, name: str) -> bool:
        """Break a lock, whoever holds it; return whether anybody did. Its holder learns of it at the next renewal."""
        return await self._database.run(lock_commands.break_lock(name))
