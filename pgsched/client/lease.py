"""Locks by name, for code that must run in one place only: what holds of them in threads and on event loops.

A lock is a row that is good for ``ttl`` seconds and renewed at a third of that while its holder lives. Whoever dies
with a lock loses it when that time is over. Nothing can stop a holder that was asleep for longer than that from going
on: pass its fencing token to what it writes to, and refuse a smaller one there.
"""

from __future__ import annotations

import os
import random
import socket
from collections.abc import Iterator
from time import monotonic

from pgsched.concurrency import fork_guard
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
