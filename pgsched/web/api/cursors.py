"""Where a page ends, as text that a caller hands back and does not read: as parameters of the API."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

Limit = Annotated[int, Query(description="1 to 10,000.")]
Cursor = Annotated[str | None, Query(description="The next_cursor of the page before.")]
