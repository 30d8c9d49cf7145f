"""Locks by name, for code that must run in one place only.

A lock is a row that is good for ``ttl`` seconds and renewed at a third of that while its holder lives. Whoever dies
with a lock loses it when that time is over. Nothing can stop a holder that was asleep for longer than that from going
on: pass its fencing token to what it writes to, and refuse a smaller one there.
"""

from __future__ import annotations

import os
import random
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from time import monotonic, sleep
from types import TracebackType
from uuid import UUID, uuid4

from pgsched.concurrency import fork_guard
from pgsched.db import lock_commands
from pgsched.db.database import Database
from pgsched.domain.errors import LockLost, LockNotAcquired, PgschedError
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.locks")

FIRST_PAUSE, LONGEST_PAUSE = 0.02, 0.5
"""Seconds between two looks at a lock that somebody else has: they grow."""
MARGIN = 0.1
"""A holder that could not renew counts its lock as lost so much of the ttl before it is free for others."""


class Lease:
    """How long a lock is good for, as its holder knows it: counted from before the question was sent."""

    def __init__(self, name: str, token: int, *, ttl: float, asked_at: float) -> None:
        self.name = name
        """What is locked."""
        self.ttl = ttl
        """Seconds that the lock is good for without a renewal."""
        self.fencing_token = token
        """Grows with every acquisition of the lock and never goes back."""
        self._good_until = 0.0
        self._taken = False
        self._released = False
        self._generation = fork_guard.current()
        self.extend(asked_at)

    @property
    def inherited(self) -> bool:
        """Whether this process is a copy of the holder: then it does not hold the lock, whatever becomes of that."""
        return self._generation != fork_guard.current()

    @property
    def lost(self) -> bool:
        """Whether the lock may be, or was, somebody else's although it had not been released."""
        return self._taken or (not self._released and (self.inherited or monotonic() >= self._good_until))

    def check(self) -> None:
        """Raise LockLost if the lock was lost: to be called before what nobody else may do at the same time."""
        if self.lost and self.inherited:
            raise LockLost(f"lock {self.name!r} was taken by the process that this one was forked from: it is not ours")
        if self.lost:
            raise LockLost(f"lock {self.name!r} was lost while it was held (fencing token {self.fencing_token})")

    def extend(self, asked_at: float) -> None:
        """Count anew from a renewal that was sent at ``asked_at`` (called by pgsched)."""
        self._good_until = asked_at + self.ttl * (1 - MARGIN)

    def take_answer(self, kept: bool, asked_at: float) -> bool:
        """Take the answer to a renewal sent at ``asked_at``; whether the lock is still held (called by pgsched)."""
        if kept:
            self.extend(asked_at)
        elif not self._released:
            self._taken = True
            log.warning("lock_lost", lock=self.name, fencing_token=self.fencing_token)
        return kept

    def postpone(self, error: PgschedError) -> float:
        """Note that a renewal had no answer; the seconds until the next try (called by pgsched)."""
        log.warning("lock_not_renewed", lock=self.name, error=str(error), lost_in=round(self.remaining, 1))
        return min(1.0, self.ttl / 10)

    @property
    def remaining(self) -> float:
        """Seconds until it counts as lost; 0 when it was lost."""
        return 0.0 if self._taken or self.inherited else max(0.0, self._good_until - monotonic())


class Held(Lease):
    """A lock that this process has, renewed by a thread."""

    def __init__(self, name: str, token: int, *, ttl: float, asked_at: float, owner: UUID, database: Database) -> None:
        super().__init__(name, token, ttl=ttl, asked_at=asked_at)
        self._owner = owner
        self._database = database
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_always, name=f"pgsched lock {name}", daemon=True)
        self._thread.start()

    def wait_lost(self, timeout: float | None = None) -> bool:
        """Wait until the lock is lost or released, ``timeout`` seconds at most; whether it is lost."""
        ends = None if timeout is None else monotonic() + timeout
        while not self._released and not self.lost:
            left = None if ends is None else ends - monotonic()
            if left is not None and left <= 0:
                break
            self._ended.wait(self.remaining if left is None else min(left, self.remaining))
        return self.lost

    def release(self) -> bool:
        """Give the lock back; whether it was still ours. Safe to call again. Raises DatabaseUnavailable."""
        if self._released or self.inherited:
            return False
        self._taken, self._released = self.lost, True
        self._ended.set()
        self._thread.join()  # a renewal under way must not find the lock gone
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
    """A lock by name, of :meth:`pgsched.client.Client.lock`; in a ``with`` it is held until the end.

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
        """Wait for the lock and take it. Raises LockNotAcquired when the timeout is over first."""
        waiting = pauses(self.name, self._timeout, began=monotonic())
        while (held := self.try_acquire()) is None:
            sleep(next(waiting))
        return held

    def try_acquire(self) -> Held | None:
        """Take the lock if it is free; None when somebody has it. Raises DatabaseUnavailable."""
        owner = uuid4()
        asked_at = monotonic()
        try:
            command = lock_commands.acquire(self.name, owner, ttl=self.ttl, holder=holder())
            token = self._database.run(command)
        except PgschedError:
            raise
        except BaseException:
            # Interrupted while the lock may have become ours: nobody would renew it, and others wait for its end.
            with suppress(PgschedError):
                self._database.run(lock_commands.release(self.name, owner))
            raise
        if token is None:
            return None
        return Held(self.name, token, ttl=self.ttl, asked_at=asked_at, owner=owner, database=self._database)

    def __enter__(self) -> Held:
        refuse_reuse(self.name, self._held)
        self._held = self.acquire()
        return self._held

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        held, self._held = self._held, None
        assert held is not None  # noqa: S101
        held.release()
        if error is None:
            held.check()


def pauses(name: str, timeout: float | None, *, began: float) -> Iterator[float]:
    """How long to wait after each look at a lock that is not free; raises LockNotAcquired when the timeout is over."""
    pause = FIRST_PAUSE
    while True:
        wanted = pause * random.uniform(0.5, 1.0)  # noqa: S311
        if timeout is not None:
            left = began + timeout - monotonic()
            if left <= 0:
                waited = f"was not free within {timeout:g} s" if timeout else "is not free"
                raise LockNotAcquired(f"lock {name!r} {waited}")
            wanted = min(wanted, left)
        yield wanted
        pause = min(pause * 1.5, LONGEST_PAUSE)


def holder() -> str:
    """Who this is, for people: the host's name and the process."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def refuse_reuse(name: str, held: Lease | None) -> None:
    """Raise RuntimeError when a lock object is entered twice: the second ``with`` would wait for the first for ever."""
    if held is not None and not held.inherited:
        raise RuntimeError(f"lock {name!r}: this object is in a with already; call client.lock() for another")
