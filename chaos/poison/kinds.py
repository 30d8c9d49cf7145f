"""All kinds of poison, by what is poisoned."""

from __future__ import annotations

from chaos.poison import endings, locks, process, rows, rules, settings, triggers
from chaos.poison.kind import Kind

FAMILIES: dict[str, tuple[Kind, ...]] = {
    "rows": rows.KINDS,
    "triggers": triggers.KINDS,
    "rules": rules.KINDS,
    "locks": locks.KINDS,
    "handlers": endings.KINDS,
    "processes": process.KINDS,
    "settings": settings.KINDS,
}
KINDS: dict[str, Kind] = {kind.name: kind for kinds in FAMILIES.values() for kind in kinds}


def described() -> str:
    """Markdown: how many kinds there are of each family, and what some of them are."""
    lines = ["| what is poisoned | kinds | among them |", "|---|---|---|"]
    for family, kinds in FAMILIES.items():
        some = "; ".join(kind.does for kind in kinds[:: max(1, len(kinds) // 4)][:5])
        lines.append(f"| {family} | {len(kinds)} | {some} |")
    return "\n".join(lines)
