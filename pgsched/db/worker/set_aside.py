"""The table of what workers have set aside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.sql_files import load_statement


class Note(NamedTuple):
    """A task that a worker has set aside."""

    task_id: int
    task_type: str
    queue: str
    operation: str
    """``claim`` or ``finish``."""
    reason: str
    tries: int
    ago: float
    """Seconds since the first try."""


async def note_set_aside(session: Session, worker: UUID, notes: Sequence[Note]) -> None:
    """Show what a worker has set aside."""
    await session.execute(
        load_statement("note_set_aside"),
        {
            "worker": worker,
            "ids": [note.task_id for note in notes],
            "task_types": [note.task_type for note in notes],
            "queues": [note.queue for note in notes],
            "operations": [note.operation for note in notes],
            "reasons": [note.reason for note in notes],
            "tries": [note.tries for note in notes],
            "ago": [note.ago for note in notes],
        },
    )


async def forget_set_aside(session: Session, worker: UUID, ids: Sequence[int]) -> None:
    """Take tasks off that list."""
    await session.execute(load_statement("forget_set_aside"), {"worker": worker, "ids": list(ids)})
