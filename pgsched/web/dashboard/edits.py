"""Concurrent edits of a form: the changes of each person, and their conflicts.

A form carries a digest of each field as it was shown. A field was changed by the person who saves when it differs from
that digest, and by somebody else when the stored value differs from it. Only a field that both changed, to different
values, is a conflict: then nothing is saved, and the form is shown again with the typed values and both values to
choose from.
"""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pgsched.db.queries.audit import list_entries
from pgsched.web.auth.access import Actor

SEEN: Final = "seen"
"""The field with the digests."""
TAKE: Final = "take."
"""Fields with this prefix resolve a conflict: whose value to keep, ``theirs`` or ``yours``."""
TRIES: Final = 5
"""Maximum number of repeated reads when others save at the same moment."""
_DIGITS = 8
_LONGEST_DIFF = 400


class Conflict(NamedTuple):
    """A field that two people changed."""

    name: str
    theirs: str
    yours: str

    @property
    def label(self) -> str:
        """The field in words."""
        return self.name.replace("_", " ").capitalize()

    @property
    def lines(self) -> Sequence[tuple[str, str]]:
        """For text of several lines, their difference: ``-`` is only theirs, ``+`` only yours; otherwise empty."""
        theirs, yours = self.theirs.splitlines(), self.yours.splitlines()
        if max(len(theirs), len(yours)) < 2 or len(theirs) + len(yours) > _LONGEST_DIFF:
            return []
        return [(line[0], line[2:]) for line in difflib.ndiff(theirs, yours) if line[0] in " +-"]


class Merged(NamedTuple):
    """The changes of a form to the stored values."""

    changed: dict[str, str]
    """The fields that the person who saves has changed."""
    conflicts: Sequence[Conflict]


class EditConflict(Exception):
    """Nothing was saved: both have changed the same fields. ``now`` holds the stored values."""

    def __init__(self, merged: Merged, now: Mapping[str, str]) -> None:
        super().__init__("somebody else has changed the same fields")
        self.merged = merged
        self.now = now


def seen_of(fields: Mapping[str, str]) -> str:
    """Return the digests of the fields of a form."""
    return " ".join(f"{name}:{_digest(text)}" for name, text in fields.items())


def merge(form: Mapping[str, str], now: Mapping[str, str]) -> Merged:
    """Compare a form with the stored values. A form without digests is compared as if it had shown them."""
    seen = dict(one.rpartition(":")[::2] for one in form.get(SEEN, "").split())
    changed: dict[str, str] = {}
    conflicts = []
    for name, stored in now.items():
        yours = _plain(form.get(name, stored))
        base = seen.get(name, _digest(stored))
        if yours == _plain(stored) or _digest(yours) == base or form.get(TAKE + name) == "theirs":
            continue
        changed[name] = form[name]
        if _digest(stored) != base:
            conflicts.append(Conflict(name, _plain(stored), yours))
    return Merged(changed, conflicts)


def merged_or_raise(form: Mapping[str, str], now: Mapping[str, str]) -> dict[str, str]:
    """Return the changed fields of a form. Raises EditConflict."""
    merged = merge(form, now)
    if merged.conflicts:
        raise EditConflict(merged, now)
    return merged.changed


async def conflict_of(actor: Actor, error: EditConflict, **of: Any) -> dict[str, Any]:
    """Return the description of a conflict; ``of`` selects the entries of the audit log."""
    entries = (await actor.client.database.run(list_entries(limit=1, **of))).entries
    return {"conflicts": error.merged.conflicts, "changed_by": next(iter(entries), None)}


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    return hashlib.sha256(_plain(text).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
