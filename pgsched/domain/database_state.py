"""Whether the tasks of a database belong to it, or to another one of which it is a copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Final

from pgsched.domain.records import Record

UNNOTED: Final = "unnoted"
"""The state of a database whose tasks do not say where they belong: those of tests, which are made from a template."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseState(Record):
    """Where the tasks belong, and where they are: the row of ``pgsched.database_state()``."""

    state: str
    """``original``, ``copy`` (they belong to another database), ``held`` (workers are held back) or ``unnoted``."""
    problem: str | None
    """Why workers do not start, in a sentence; None if they start."""
    system_identifier: str | None
    """Of this server; None if the role may not read it: then only the oid is compared."""
    database_oid: int
    database_name: str
    noted_system_identifier: str | None
    """Of the server that the tasks belong to; this and the following: None if nothing is noted."""
    noted_database_oid: int | None
    noted_database_name: str | None
    noted_at: datetime | None
    noted_by: str | None
    held_at: datetime | None
    """Since when workers are held back."""
    held_by: str | None
