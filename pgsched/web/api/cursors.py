"""Where a page ends, as text that a caller hands back and does not read."""

from __future__ import annotations

import base64
import json
from datetime import datetime
from typing import Any

from pgsched.domain.errors import InvalidTask

LONGEST = 200


def write_cursor(kind: str, *place: Any) -> str:
    """Return the cursor for a place in a list of this kind."""
    values = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps([kind, *values]).encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str, *types: type) -> list[Any]:
    """Return the place that a cursor stands for. Raises InvalidTask for one of another list, or of nobody."""
    try:
        if len(cursor) > LONGEST:
            raise ValueError
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(found, list) or len(found) != 1 + len(types) or found[0] != kind:
            raise ValueError
        return [_value(value, wanted) for value, wanted in zip(found[1:], types, strict=True)]
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
