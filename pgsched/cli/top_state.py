"""What somebody looks at in ``pgsched top``, and what a key does to it. Pure."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

PANELS: Final = ("queues", "workers", "running")
SORTS: Final = {
    "queues": ("name", "due", "running", "rate", "oldest"),
    "workers": ("host", "load", "heartbeat"),
    "running": ("longest", "type", "queue", "id"),
}
"""By what the rows of a panel may be sorted; the first is the order they begin with."""


@dataclass(frozen=True, kw_only=True)
class View:
    """What is looked at."""

    panel: str = "queues"
    sorts: tuple[int, int, int] = (0, 0, 0)
    """Of each panel the place in its :data:`SORTS`."""
    tops: tuple[int, int, int] = (0, 0, 0)
    """Of each panel the first row that is shown."""
    paused: bool = False
    help: bool = False

    def sort_of(self, panel: str) -> str:
        """By what a panel is sorted."""
        return SORTS[panel][self.sorts[PANELS.index(panel)]]

    def top_of(self, panel: str) -> int:
        """The first row of a panel that is shown."""
        return self.tops[PANELS.index(panel)]


def press(view: View, key: str) -> View | None:
    """Return what is looked at after a key; None: nothing any more."""
    if key in ("q", "ctrl-c"):
        return None
    if view.help:
        return replace(view, help=False)
    match key:
        case "?" | "h":
            return replace(view, help=True)
        case "p" | " ":
            return replace(view, paused=not view.paused)
        case "s":
            return _sorted(view)
        case "tab" | "right":
            return _moved(view, 1)
        case "back-tab" | "left":
            return _moved(view, -1)
        case "down" | "j":
            return _scrolled(view, 1)
        case "up" | "k":
            return _scrolled(view, -1)
        case "page-down":
            return _scrolled(view, 10)
        case "page-up":
            return _scrolled(view, -10)
        case "home":
            return _scrolled(view, -1_000_000)
    return view


def within(view: View, rows: dict[str, int]) -> View:
    """Return the same with no panel scrolled past its last row; ``rows`` is how many each has."""
    tops = [min(top, max(rows[panel] - 1, 0)) for panel, top in zip(PANELS, view.tops, strict=True)]
    return replace(view, tops=(tops[0], tops[1], tops[2]))


def _moved(view: View, by: int) -> View:
    return replace(view, panel=PANELS[(PANELS.index(view.panel) + by) % len(PANELS)])


def _sorted(view: View) -> View:
    place = PANELS.index(view.panel)
    return replace(view, sorts=_with(view.sorts, place, (view.sorts[place] + 1) % len(SORTS[view.panel])))


def _scrolled(view: View, by: int) -> View:
    place = PANELS.index(view.panel)
    return replace(view, tops=_with(view.tops, place, max(view.tops[place] + by, 0)))


def _with(three: tuple[int, int, int], place: int, value: int) -> tuple[int, int, int]:
    values = [*three]
    values[place] = value
    return values[0], values[1], values[2]
