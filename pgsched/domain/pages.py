"""Pages of lists: each page knows where the next begins, by an opaque cursor that every interface accepts."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from pgsched.domain.errors import InvalidTask

T = TypeVar("T")

LONGEST = 200


class PagedList(list[T]):
    """A page of a list."""

    def __init__(self, items: Iterable[T] = (), next_cursor: str | None = None) -> None:
        super().__init__(items)
        self.next_cursor = next_cursor
        """The ``cursor`` of the next page; None when this is the last one."""


def paged(kind: str, found: list[T], limit: int, *names: str) -> PagedList[T]:
    """Return a page. After a full one the next begins behind its last row, by these of its values."""
    is_full = len(found) == limit
    return PagedList(found, write_cursor(kind, *(getattr(found[-1], name) for name in names)) if is_full else None)


def write_cursor(kind: str, *place: Any) -> str | None:
    """Return the cursor for a place in a list of this kind; None for None, where nothing follows."""
    if None in place:
        return None
    values = [value.isoformat() if isinstance(value, datetime) else value for value in place]
    return base64.urlsafe_b64encode(json.dumps([kind, *values]).encode()).decode().rstrip("=")


def read_cursor(kind: str, cursor: str | None, *types: type) -> Any:
    """Return the place that a cursor stands for, as a tuple when it has several parts; None for no cursor.

    Raises InvalidTask for a cursor of another list, or one that pgsched did not issue.
    """
    if cursor is None:
        return None
    try:
        if not isinstance(cursor, str) or len(cursor) > LONGEST:
            raise ValueError
        found = json.loads(base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True))
        if not isinstance(found, list) or len(found) != 1 + len(types) or found[0] != kind:
            raise ValueError
        place = tuple(_value(value, wanted) for value, wanted in zip(found[1:], types, strict=True))
        return place if len(place) > 1 else place[0]
    except (ValueError, RecursionError):
        raise InvalidTask("must be the next_cursor of a response of this very list", field="cursor") from None


def place_of(kind: str, cursor: str | None, name: str, place: Any, *types: type) -> Any:
    """Return where a page begins, by its cursor or by the place itself. Raises InvalidTask when both are given."""
    if cursor is not None and place is not None:
        raise InvalidTask(f"excludes {name}: both set where the page begins", field="cursor")
    return place if cursor is None else read_cursor(kind, cursor, *types)


def _value(value: Any, wanted: type) -> Any:
    if wanted is datetime and isinstance(value, str):
        moment = datetime.fromisoformat(value)
        if moment.utcoffset() is not None:
            return moment
    if wanted is int and isinstance(value, int) and not isinstance(value, bool) and abs(value) < 2**63:
        return value
    raise ValueError
