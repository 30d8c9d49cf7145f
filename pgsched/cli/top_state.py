"""The view state of ``pgsched top``, and how keys change it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

PANELS: Final = ("queues", "workers", "running")
SORTS: Final = {
    "queues": ("name", "ready", "active", "rate", "latency"),
    "workers": ("host", "load", "heartbeat"),
    "running": ("longest", "type", "queue", "id"),
}
"""The sort orders of each panel; the first is the initial one."""
_MOVES: Final = {"tab": 1, "right": 1, "back-tab": -1, "left": -1}
_SCROLLS: Final = {"down": 1, "j": 1, "up": -1, "k": -1, "page-down": 10, "page-up": -10, "home": -1_000_000}


@dataclass(frozen=True, kw_only=True)
class View:
    """The selected panel, and how each panel is sorted and scrolled."""

    panel: str = "queues"
    sorts: tuple[int, ...] = (0, 0, 0)
    """For each panel, the index in its :data:`SORTS`."""
    tops: tuple[int, ...] = (0, 0, 0)
    """For each panel, the first visible row."""
    paused: bool = False
    help: bool = False

    def sort_of(self, panel: str) -> str:
        """Return the sort order of a panel."""
        return SORTS[panel][self.sorts[PANELS.index(panel)]]

    def top_of(self, panel: str) -> int:
        """Return the first visible row of a panel."""
        return self.tops[PANELS.index(panel)]


def press(view: View, key: str) -> View | None:
    """Return the view after a key was pressed; None to quit."""
    if key in ("q", "ctrl-c"):
        return None
    if view.help:
        return replace(view, help=False)
    if key in _MOVES:
        panel = PANELS[(PANELS.index(view.panel) + _MOVES[key]) % len(PANELS)]
        return replace(view, panel=panel)
    place = PANELS.index(view.panel)
    if key in _SCROLLS:
        return replace(view, tops=_with(view.tops, place, max(view.tops[place] + _SCROLLS[key], 0)))
    match key:
        case "?" | "h":
            return replace(view, help=True)
        case "p" | " ":
            return replace(view, paused=not view.paused)
        case "s":
            return replace(view, sorts=_with(view.sorts, place, (view.sorts[place] + 1) % len(SORTS[view.panel])))
    return view


def within(view: View, rows: dict[str, int]) -> View:
    """Return the view with no panel scrolled past its last row; ``rows`` is the number of rows per panel."""
    tops = (min(top, max(rows[panel] - 1, 0)) for panel, top in zip(PANELS, view.tops, strict=True))
    return replace(view, tops=tuple(tops))


def _with(values: tuple[int, ...], place: int, value: int) -> tuple[int, ...]:
    return *values[:place], value, *values[place + 1 :]
