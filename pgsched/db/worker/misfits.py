"""Payloads that do not fit a worker's handler: what the register knows about newer versions of it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from pgsched.db.session import Sessions
from pgsched.db.sql_files import load_statement


class Newer(NamedTuple):
    """The newest version of a handler's code, and how long a task has waited for a worker that has it."""

    version: str | None
    since: str
    """When it was first registered."""
    waits: int
    seconds: float


async def note_misfit(
    sessions: Sessions, task_id: int, task_type: str, version: str | None, payload_schema: Mapping[str, Any]
) -> Newer | None:
    """Return the newest version of a handler's code, None when none is newer than this one, and record the misfit.

    Raises DatabaseUnavailable.
    """
    params = {
        "id": task_id,
        "task_type": task_type,
        "version": version,
        "payload_schema": json.dumps(payload_schema),
    }
    (rows,) = await sessions.fetch([(load_statement("note_misfit"), params)])
    newest, since, is_older, waits, seconds = rows[0]
    return Newer(newest, str(since), int(waits), float(seconds)) if is_older else None
