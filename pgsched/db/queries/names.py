"""What the command line asks of the database to complete a word, and to find the nearest name to a typing error."""

from __future__ import annotations

from typing import Literal

from pgsched.db.query import Command, unprepared

Kind = Literal["queue", "type", "key", "worker"]


def list_names(kind: Kind, beginning: str = "") -> Command[list[str]]:
    """Read up to 1,000 names that begin with a text: queues, registered types, keys of schedules, ids of workers."""
    return unprepared("list_names", lambda rows: [str(row["name"]) for row in rows], kind=kind, beginning=beginning)
