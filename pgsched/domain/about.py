"""What a task's row says beside what its attempt needs: for handlers that ask for it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

MANUAL_KEY = "run:"
"""The keys of the copies that ``run_now`` makes begin with this, and go on with the id of the task and of the copy."""


class About(NamedTuple):
    """Columns of the row, in the order in which the claim has them."""

    name: str | None = None
    tags: tuple[str, ...] = ()
    metadata: dict[str, Any] = {}  # noqa: RUF012 - a default of a NamedTuple, copied by who hands it out
    tenant_id: str | None = None
    user_id: str | None = None
    created_by: str | None = None
    key: str | None = None
    parent_id: int | None = None
    failed_before: bool = False
    """A one-time task that has failed already, and was given its attempts again."""

    @property
    def is_manual(self) -> bool:
        """It is the copy of a task that somebody ran by ``run_now``."""
        return self.parent_id is not None and (self.key or "").startswith(f"{MANUAL_KEY}{self.parent_id}:")


NOTHING_KNOWN = About()


def manual_key(parent_id: int, id: int) -> str:
    """Return the key of a copy that ``run_now`` has made."""
    return f"{MANUAL_KEY}{parent_id}:{id}"


def read_about(text: str | None) -> About:
    """Return what a claim says of a row; None: it was not asked."""
    if text is None:
        return NOTHING_KNOWN
    about = About._make(json.loads(text))
    return about._replace(tags=tuple(about.tags), failed_before=bool(about.failed_before))
