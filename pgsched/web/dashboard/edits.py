"""Forms that two people may have open at once: what each of them changed, and where they disagree.

A form carries a digest of each field as it was shown. A field counts as changed by whoever saves it when it differs
from that, and as changed by somebody else when what is stored does. Only a field that both changed, to different
values, is a conflict: then nothing is saved, and the form comes back with what was typed, and both
values to choose from.
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
"""Fields of this prefix say for a conflict whose value is kept: ``theirs`` or ``yours``."""
TRIES: Final = 5
"""How often a save reads and compares again when others save at the same moment."""
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
        """Of a text of several lines, how the two differ: ``-`` is theirs alone, ``+`` yours; of others nothing."""
        theirs, yours = self.theirs.splitlines(), self.yours.splitlines()
        if max(len(theirs), len(yours)) < 2 or len(theirs) + len(yours) > _LONGEST_DIFF:
            return []
        return [(line[0], line[2:]) for line in difflib.ndiff(theirs, yours) if line[0] in " +-"]


class Merged(NamedTuple):
    """What a form changes of what is stored now."""

    changed: dict[str, str]
    """The fields that whoever saves has changed."""
    conflicts: Sequence[Conflict]


class EditConflict(Exception):
    """Nothing was saved: both have changed the same fields. ``now`` is what is stored."""

    def __init__(self, merged: Merged, now: Mapping[str, str]) -> None:
        super().__init__("somebody else has changed the same fields")
        self.merged = merged
        self.now = now


def seen_of(fields: Mapping[str, str]) -> str:
    """Return the digests of the fields of a form."""
    return " ".join(f"{name}:{_digest(text)}" for name, text in fields.items())


def merge(form: Mapping[str, str], now: Mapping[str, str]) -> Merged:
    """Compare a form with what is stored. One that does not say what it showed is taken to have shown that."""
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
    """Return the fields that a form changes. Raises EditConflict."""
    merged = merge(form, now)
    if merged.conflicts:
        raise EditConflict(merged, now)
    return merged.changed


async def conflict_of(actor: Actor, error: EditConflict, **of: Any) -> dict[str, Any]:
    """What a page says about a conflict; ``of`` is what the entries of the audit log are found by."""
    entries = (await actor.client.database.run(list_entries(limit=1, **of))).entries
    return {"conflicts": error.merged.conflicts, "changed_by": next(iter(entries), None)}


def _plain(text: str) -> str:
    return text.replace("\r\n", "\n").strip()


def _digest(text: str) -> str:
    return hashlib.sha256(_plain(text).encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
