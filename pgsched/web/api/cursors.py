"""Where a page ends, as text that a caller hands back and does not read."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any

from fastapi import Query

from pgsched.domain.errors import InvalidTask

LONGEST = 200
Limit = Annotated[int, Query(description="1 to 10,000.")]
Cursor = Annotated[str | None, Query(description="The next_cursor of the page before.")]


def write_cursor(kind: str, *place: Any) -> str | None:
    """Return the cursor for a place in a list of this kind; None for None, where nothing follows."""
    if None in place:
        return None
    values = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps([kind, *values]).encode()).decode().rstrip("=")


def cursor_after(kind: str, found: Sequence[Any], limit: int, *names: str) -> str | None:
    """Return the cursor after the last row of a full page, by these of its values; None after one that is not full."""
    return write_cursor(kind, *(getattr(found[-1], name) for name in names)) if len(found) == limit else None


def read_cursor(kind: str, cursor: str | None, *types: type) -> Any:
    """Return the place that a cursor stands for, as a tuple when it has several parts; None for no cursor.

    Raises InvalidTask for a cursor of another list, or of nobody.
    """
    if cursor is None:
        return None
    try:
        if len(cursor) > LONGEST:
            raise ValueError
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(found, list) or len(found) != 1 + len(types) or found[0] != kind:
            raise ValueError
        place = tuple(_value(value, wanted) for value, wanted in zip(found[1:], types, strict=True))
        return place if len(place) > 1 else place[0]
    except (ValueError, RecursionError):
        raise InvalidTask("must be the next_cursor of an answer of this very list", field="cursor") from None


def _value(value: Any, wanted: type) -> Any:
    if wanted is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() is not None:
            return moment
    if wanted is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    raise ValueError
