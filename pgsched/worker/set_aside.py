"""Rows that the database rejects: kept out of every batch, shown to everybody, and retried with growing pauses."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from time import monotonic
from typing import Generic, TypeVar
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import SetAsideNote, forget_set_aside, note_set_aside
from pgsched.domain.storable import storable
from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")

FIRST_PAUSE, LONGEST_PAUSE = 5.0, 60.0
"""Seconds until a row is retried, doubled each time."""
FIRST_IMPAIRED_PAUSE, LONGEST_IMPAIRED_PAUSE = 1.0, 5.0
"""The same, while the server is the cause: what waits is written soon after its disk has room again."""
FIRST_LOCKED_PAUSE, LONGEST_LOCKED_PAUSE = 0.25, 5.0
"""The same, for a row that another session has locked."""
NOTE_SECONDS = 1.0
"""Rows that were set aside for this long are logged and shown: a short lock is not worth it."""
MAX_REASON = 1000
"""Maximum length of the database's message."""

T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Entry(Generic[T]):
    """One row that was set aside. Times are by the monotonic clock, in seconds."""

    task_id: int
    task_type: str
    queue: str
    item: T
    """What is to be retried."""
    reason: str
    since: float
    locked: bool
    tries: int = 1
    again_at: float = 0.0
    logged: bool = False
    noted: int = 0
    """Attempts as the table shows them; 0 when it is not in the table."""


class SetAside(Generic[T]):
    """The rows that one loop of a worker has set aside."""

    def __init__(self, operation: str) -> None:
        """``operation``: what failed, ``claim`` or ``finish``."""
        self._operation = operation
        self._entries: dict[int, Entry[T]] = {}
        self._gone: list[int] = []

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def oldest(self) -> float | None:
        """Since when something has been set aside, by the monotonic clock; from any thread."""
        return min((entry.since for entry in list(self._entries.values())), default=None)

    @property
    def ids(self) -> list[int]:
        """The tasks that are set aside."""
        return list(self._entries)

    def tries(self, task_id: int) -> int:
        """Return how often a row has been tried; 0 when it is not set aside."""
        entry = self._entries.get(task_id)
        return 0 if entry is None else entry.tries

    def put(
        self,
        task_id: int,
        task_type: str,
        queue: str,
        item: T,
        reason: str,
        *,
        locked: bool = False,
        impaired: bool = False,
    ) -> None:
        """Set a row aside, or record another failure.

        ``locked``: another session has it, so retry soon. ``impaired``: the server is the cause, as by a full disk.
        """
        now = monotonic()
        entry = self._entries.get(task_id)
        if entry is None:
            entry = self._entries[task_id] = Entry(
                task_id=task_id,
                task_type=task_type,
                queue=queue,
                item=item,
                reason=storable(reason, MAX_REASON),
                since=now,
                locked=locked,
            )
        else:
            entry.item, entry.reason, entry.locked = item, storable(reason, MAX_REASON), locked
            entry.tries += 1
        first, longest = (FIRST_LOCKED_PAUSE, LONGEST_LOCKED_PAUSE) if locked else (FIRST_PAUSE, LONGEST_PAUSE)
        if impaired:
            first, longest = FIRST_IMPAIRED_PAUSE, LONGEST_IMPAIRED_PAUSE
        entry.again_at = now + min(first * 2.0 ** min(entry.tries - 1, 20), longest)

    def hold(self, task_id: int) -> None:
        """Leave a row to an attempt that is under way: it is due again when that has failed."""
        self._entries[task_id].again_at = inf

    def due(self) -> list[Entry[T]]:
        """Return what is to be retried now."""
        now = monotonic()
        return [entry for entry in self._entries.values() if entry.again_at <= now]

    def due_in(self) -> float:
        """Seconds until something is to be retried; infinite while attempts are under way. Something is set aside."""
        return max(min(entry.again_at for entry in self._entries.values()) - monotonic(), 0.0)

    def hurry(self, reason: str | None = None) -> None:
        """Retry everything now, or what was set aside for this reason."""
        for entry in self._entries.values():
            if reason is None or entry.reason == reason:
                entry.again_at = 0.0

    def forget(self, task_id: int) -> None:
        """Note that a row was written after all, or no longer belongs to this worker."""
        entry = self._entries.pop(task_id, None)
        if entry is not None and entry.noted:
            self._gone.append(task_id)

    async def run_once(self, session: Session, worker: UUID) -> None:
        """Log what is new, and update the table. Raises DatabaseUnavailable, and tries again next time."""
        now = monotonic()
        fresh = [one for one in self._entries.values() if one.since <= now - NOTE_SECONDS and one.noted != one.tries]
        for entry in fresh:
            if not entry.logged:
                entry.logged = True
                log.error(
                    "task_set_aside",
                    task_id=entry.task_id,
                    task_type=entry.task_type,
                    queue=entry.queue,
                    operation=self._operation,
                    reason=entry.reason,
                )
        if fresh:
            notes = [
                SetAsideNote(e.task_id, e.task_type, e.queue, self._operation, e.reason, e.tries, now - e.since)
                for e in fresh
            ]
            await note_set_aside(session, worker, notes)
            for entry, note in zip(fresh, notes, strict=True):
                entry.noted = note.tries
        if self._gone:
            gone = self._gone[:]
            await forget_set_aside(session, worker, gone)
            del self._gone[: len(gone)]
