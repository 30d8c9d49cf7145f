"""Commands for payload forms. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final, NamedTuple

from pgsched.db.query import Command, Rows, command, nothing, unprepared
from pgsched.domain.json_text import encode_json

LOOKED_AT: Final = 20_000
"""Number of rows that are searched for recent tasks of a type."""
RECENT: Final = 5


class RecentTask(NamedTuple):
    """A task whose payload may serve as a template."""

    id: int
    task_name: str | None
    status: str
    created_at: datetime


def check_payload(task_type: str, schema: Mapping[str, Any], payload: Mapping[str, Any]) -> Command[None]:
    """Reject what an INSERT for a strict handler rejects. Raises InvalidTask, naming the argument."""
    given = {"schema": json.dumps(schema), "payload": encode_json(payload, "payload")}
    return command("check_payload", nothing, task_type=task_type, **given)


def list_recent_payloads(task_type: str) -> Command[list[RecentTask]]:
    """Read the last tasks of a type, without their payloads."""

    def parse(rows: Rows) -> list[RecentTask]:
        return [RecentTask(*(row[name] for name in RecentTask._fields)) for row in rows]

    return unprepared("list_recent_payloads", parse, task_type=task_type, most=LOOKED_AT, limit=RECENT)
