"""Columns of a task that its attempt does not need, for handlers that take a context."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MANUAL_KEY = "run:"
"""Prefix of the keys of copies made by ``run_now``; the id of the task and the id of the copy follow it."""


class About(NamedTuple):
    """Columns of the row, in the order in which the claim returns them."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # noqa: RUF012 - the default of a NamedTuple; whoever hands it out copies it
    tenant_id: str | None = None
    user_id: str | None = None
    created_by: str | None = None
    key: str | None = None
    parent_id: int | None = None
    failed_before: bool = False
    """Whether this is a one-time task that failed before and was given its attempts again."""

    @property
    def is_manual(self) -> bool:
        """Whether this is the copy of a task that somebody ran by ``run_now``."""
        return self.parent_id is not None and (self.key or "").startswith(f"{MANUAL_KEY}{self.parent_id}:")


NOTHING_KNOWN = About()


def manual_key(parent_id: int, id: int) -> str:
    """Return the key of a copy made by ``run_now``."""
    return f"{MANUAL_KEY}{parent_id}:{id}"


def read_about(text: str | None) -> About:
    """Return the columns that a claim returned for a row; None when the handler takes no context."""
    if text is None:
        return NOTHING_KNOWN
    about = About._make(json.loads(text))
    return about._replace(tags=tuple(about.tags), failed_before=bool(about.failed_before))
