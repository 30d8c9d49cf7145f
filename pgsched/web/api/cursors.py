"""Cursors of the API: the end of a page, as opaque text that a caller sends back.

A cursor belongs to the filters that it was created with: with others it would skip or repeat matches.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Final

from fastapi import Query

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import to_json_able

Limit = Annotated[int, Query(description="1 to 10,000.")]
Cursor = Annotated[str | None, Query(description="The next_cursor of the previous page, with the same filters.")]
_MARK: Final = "~"


def sealed(cursor: str | None, *filters: Any) -> str | None:
    """Return the cursor of an answer, bound to these filters; None for None."""
    return None if cursor is None else f"{cursor}{_MARK}{_digest(filters)}"


def unsealed(cursor: str | None, *filters: Any) -> str | None:
    """Return the cursor of a request. Raises InvalidTask for one that was created with other filters."""
    if cursor is None:
        return None
    inner, mark, digest = cursor.rpartition(_MARK)
    if not mark:
        raise InvalidTask("must be the next_cursor of a response of this very list", field="cursor")
    if digest != _digest(filters):
        raise InvalidTask("must be given with the filters that it was created with", field="cursor")
    return inner


def _digest(filters: tuple[Any, ...]) -> str:
    said = [sorted(one.items()) if isinstance(one, dict) else one for one in filters]
    return hashlib.sha256(repr(to_json_able(said)).encode("utf-8", "surrogatepass")).hexdigest()[:8]
