"""Searches for tasks that are saved under a name."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from pgsched.domain.errors import InvalidTask
from pgsched.domain.records import Record
from pgsched.domain.search_query import filters_of, parse_query

_ANY_MOMENT: Final = datetime(2000, 1, 1, tzinfo=UTC)
_NAME: Final = re.compile(r"[a-z][a-z0-9_-]{0,62}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedView(Record):
    """A saved search: a row of ``pgsched.saved_views``."""

    name: str
    query: str
    """Terms of the search language."""
    saved_by: str
    saved_at: datetime


def checked_view_name(name: str) -> str:
    """Return a valid name for a view. Raises InvalidTask."""
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        rule = "must begin with a lower-case letter, then up to 62 lower-case letters, digits, _ and -"
        raise InvalidTask(rule, field="name", subject="name of a view", value=str(name))
    return name


def checked_view_query(query: str) -> str:
    """Return a valid query for a view. Raises InvalidTask when it cannot be parsed or is empty."""
    if not filters_of(parse_query(query), now=_ANY_MOMENT):
        raise InvalidTask("must have a term", field="query")
    return query.strip()
