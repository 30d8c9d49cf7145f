# Generated from async_locks.py by `make sync`: change that file instead.
"""Named locks for threads."""

from __future__ import annotations

from contextlib import suppress
from time import monotonic
from uuid import UUID, uuid4

from pgsched.client.lease import Lease, holder, pauses, refuse_reuse
from pgsched.concurrency.primitives import Background, Event, sleep, uninterrupted
from pgsched.db.database import Database
from pgsched.db.queries import locks as lock_commands
from pgsched.domain.errors import PgschedError
from pgsched.domain.records import LockInfo


class Held(Lease):
    """A lock held by this process, renewed by a thread."""

    def __init__(self, name: str, token: int, *, ttl: float, asked_at: float, owner: UUID, database: Database) -> None:
        super().__init__(name, token, ttl=ttl, asked_at=asked_at)
        self._owner = owner
        self._database = database
        self._ended = Event()
        self._renewal = Background(self._renew_always, name=f"pgsched lock {name}")

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or released, at most ``timeout`` seconds; return whether it is lost."""
        ends = None if timeout is None else monotonic() + timeout
        while not self._released and not self.lost:
            left = None if ends is None else ends - monotonic()
            if left is not None and left <= 0:
                break
            self._ended.wait(self.remaining if left is None else min(left, self.remaining))
        return self.lost

    def release(self) -> bool:
        """Release the lock; return whether it was still ours. Safe to call again. Raises DatabaseUnavailable."""
        if self._released or self.inherited:
            return False
        self._taken, self._released = self.lost, True
        self._ended.set()
        self._renewal.join()  # a renewal in progress must not find the lock gone
        if not self._database.run(lock_commands.release(self.name, self._owner)):
            self._taken = True
        return not self._taken

    def _renew_always(self) -> None:
        pause = self.ttl / 3
        while not self._ended.wait(pause):
            asked_at = monotonic()
            try:
                kept = self._database.run(lock_commands.renew(self.name, self._owner, ttl=self.ttl))
            except PgschedError as error:
                pause = self.postpone(error)
                continue
            if not self.take_answer(kept, asked_at):
                self._ended.set()
                return
            pause = self.ttl / 3


class Lock:
    """A named lock, from :meth:`pgsched.Client.lock`; in a ``with`` it is held until the end.

    The ``with`` raises LockNotAcquired when the lock was not free within the timeout, and at its end LockLost when the
    lock was lost meanwhile.
    """

    def __init__(self, database: Database, name: str, *, ttl: float, timeout: float | None) -> None:
        self._database = database
        self.name = lock_commands.lock_name(name)
        self.ttl = lock_commands.lock_ttl(name, ttl)
        self._timeout = lock_commands.lock_timeout(name, timeout)
        self._held: Held | None = None

    def acquire(self) -> Held:
        """Wait for the lock and acquire it. Raises LockNotAcquired when the timeout expires first."""
        waiting = pauses(self.name, self._timeout, began=monotonic())
        while (held := self.try_acquire()) is None:
            sleep(next(waiting))
        return held

    def try_acquire(self) -> Held | None:
        """Acquire the lock if it is free; None when somebody holds it. Raises DatabaseUnavailable."""
        owner = uuid4()
        asked_at = monotonic()
        try:
            token = self._database.run(lock_commands.acquire(self.name, owner, ttl=self.ttl, holder=holder()))
        except PgschedError:
            raise
        except BaseException:
            # Interrupted when the lock may already be ours: nobody would renew it while others wait.
            with suppress(PgschedError):
                uninterrupted(lambda: self._database.run(lock_commands.release(self.name, owner)))
            raise
        if token is None:
            return None
        return Held(self.name, token, ttl=self.ttl, asked_at=asked_at, owner=owner, database=self._database)

    def __enter__(self) -> Held:
        refuse_reuse(self.name, self._held)
        self._held = self.acquire()
        return self._held

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        held, self._held = self._held, None
        assert held is not None  # noqa: S101
        uninterrupted(held.release)  # nobody else would release the lock
        if error is None:
            held.check()


class LockClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def lock(self, name: str, *, ttl: float = 30, timeout: float | None = None) -> Lock:
        """Return a named lock, for a ``with``: its body runs in one place only.

        It is valid for ``ttl`` seconds (1 to 86,400) and renewed while this process lives. Callers wait for it at most
        ``timeout`` seconds, None for ever. Raises InvalidLock.
        """
        return Lock(self._database, name, ttl=ttl, timeout=timeout)

    def locks(self) -> list[LockInfo]:
        """Return every lock that has not been released."""
        return self._database.run(lock_commands.list_locks())

    def break_lock(self, name: str) -> bool:
        """Break a lock, whoever holds it; return whether anybody did. Its holder learns of it at the next renewal."""
        return self._database.run(lock_commands.break_lock(name))
