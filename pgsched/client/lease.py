"""Named locks for code that must run in one place only: what threads and event loops have in common.

A lock is a row that is valid for ``ttl`` seconds and renewed after a third of that while its holder lives. A holder
that dies loses the lock when that time has expired. Nothing can stop a holder that slept for longer than that from
continuing: pass its fencing token to what it writes to, and reject a smaller one there.
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
"""Seconds between two polls of a lock that somebody else holds, which grow."""
MARGIN = 0.1
"""A holder that could not renew considers its lock lost this share of the ttl before it is free for others."""


class Lease:
    """The validity of a lock as its holder knows it: counted from before the query was sent."""

    def __init__(self, name: str, token: int, *, ttl: float, asked_at: float) -> None:
        self.name = name
        """The name of the lock."""
        self.ttl = ttl
        """Seconds that the lock is valid for without a renewal."""
        self.fencing_token = token
        """Grows with every acquisition of the lock and never goes back."""
        self._good_until = 0.0
        self._taken = False
        self._released = False
        self._generation = fork_guard.current()
        self.extend(asked_at)

    @property
    def inherited(self) -> bool:
        """Whether this process is a fork of the holder: then it does not hold the lock, whatever happens to it."""
        return self._generation != fork_guard.current()

    @property
    def lost(self) -> bool:
        """Whether somebody else may have, or had, the lock although it had not been released."""
        return self._taken or (not self._released and (self.inherited or monotonic() >= self._good_until))

    def check(self) -> None:
        """Raise LockLost if the lock was lost: call it before anything that must not happen twice."""
        if self.lost and self.inherited:
            raise LockLost(f"lock {self.name!r} was taken by the process that this one was forked from: it is not ours")
        if self.lost:
            raise LockLost(f"lock {self.name!r} was lost while it was held (fencing token {self.fencing_token})")

    def extend(self, asked_at: float) -> None:
        """Count from a renewal that was sent at ``asked_at`` (called by pgsched)."""
        self._good_until = asked_at + self.ttl * (1 - MARGIN)

    def take_answer(self, kept: bool, asked_at: float) -> bool:
        """Process the answer to a renewal sent at ``asked_at``; return whether it is still held (called by pgsched)."""
        if kept:
            self.extend(asked_at)
        elif not self._released:
            self._taken = True
            log.warning("lock_lost", lock=self.name, fencing_token=self.fencing_token)
        return kept

    def postpone(self, error: PgschedError) -> float:
        """Record that a renewal had no answer; return the seconds until the next attempt (called by pgsched)."""
        log.warning("lock_not_renewed", lock=self.name, error=str(error), lost_in=round(self.remaining, 1))
        return min(1.0, self.ttl / 10)

    @property
    def remaining(self) -> float:
        """Seconds until it counts as lost; 0 when it was lost."""
        return 0.0 if self._taken or self.inherited else max(0.0, self._good_until - monotonic())


def pauses(name: str, timeout: float | None, *, began: float) -> Iterator[float]:
    """Return how long to wait after each poll of a lock in use; raises LockNotAcquired when the timeout expires."""
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
    """The identity of this process for display: the host's name and the process id."""
    return f"{socket.gethostname()[:200]}:{os.getpid()}"


def refuse_reuse(name: str, held: Lease | None) -> None:
    """Raise RuntimeError when a lock object is entered twice: the second ``with`` would wait for the first forever."""
    if held is not None and not held.inherited:
        raise RuntimeError(f"lock {name!r}: this object is in a with already; call client.lock() for another")
