"""All kinds of poison, by what is poisoned."""

from __future__ import annotations

from tests.chaos.poison import endings, locks, process, rows, rules, settings, triggers
from tests.chaos.poison.kind import Kind

FAMILIES: dict[str, tuple[Kind, ...]] = {
    "rows": rows.KINDS,
    "triggers": triggers.KINDS,
    "rules": rules.KINDS,
    "locks": locks.KINDS,
    "endings": endings.KINDS,
    "process": process.KINDS,
    "settings": settings.KINDS,
}
KINDS: dict[str, Kind] = {kind.name: kind for kinds in FAMILIES.values() for kind in kinds}
