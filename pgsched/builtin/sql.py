"""The handler ``pgsched.sql``: one statement, in the transaction that commits the task's outcome."""

from __future__ import annotations

import json
from datetime import date, datetime, time
from typing import Any

from pgsched.db.user_sql import run_statement
from pgsched.domain.errors import Discard
from pgsched.domain.records import to_json_able
from pgsched.domain.storable import storable_json
from pgsched.execution.context import Context

MAX_ROWS = 100
"""Maximum number of stored rows."""
MAX_ROWS_CHARACTERS = 262_144
"""Maximum size of the stored rows, in characters of JSON."""
MAX_ROW_CHARACTERS = 16_384
"""Maximum size of a row, in characters of JSON."""


async def handle(ctx: Context, statement: str, params: list[Any] | dict[str, Any] | None = None) -> dict[str, Any]:
    """Run one statement; return its row count and the first of the returned rows."""
    if not isinstance(statement, str) or not statement.strip() or "\0" in statement:
        raise Discard("statement must be text without the character \\0")
    if params is not None and not isinstance(params, list | dict):
        raise Discard(f"params must be a list or an object, got a {type(params).__name__}")
    ran = await run_statement(ctx.connection, statement, params, limit=MAX_ROWS)
    rows, characters = [], 0
    for row in ran.rows:
        values = {name: _json_able(value) for name, value in zip(ran.columns, row, strict=True)}
        text = storable_json(values, MAX_ROW_CHARACTERS)
        characters += len(text)
        if characters > MAX_ROWS_CHARACTERS:
            break
        rows.append(json.loads(text))
    is_cut = ran.more or len(rows) < len(ran.rows)
    return {"rowcount": ran.rowcount, "rows": rows} | ({"truncated": True} if is_cut else {})


def _json_able(value: Any) -> Any:
    """Return a value for JSON; numbers that JSON would round, and types that it lacks, become text."""
    if isinstance(value, date | time) and (not isinstance(value, datetime) or value.tzinfo is None):
        return value.isoformat()
    if isinstance(value, bytes):
        return "\\x" + value.hex()
    if isinstance(value, list | tuple) and not hasattr(value, "_fields"):
        return [_json_able(item) for item in value]
    plain = to_json_able(value)
    return plain if isinstance(plain, bool | int | float | str | dict | list | None) else str(plain)
