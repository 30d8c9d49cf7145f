"""Inline icons: nothing to load, and they have the colour of the text beside them."""

from __future__ import annotations

from functools import cache
from pathlib import Path

from markupsafe import Markup

FOLDER = Path(__file__).parents[1] / "lucide"
"""The icons of Lucide, as they are distributed, with their licence."""


@cache
def icon(name: str) -> Markup:
    """Return an icon by its Lucide name, hidden from screen readers. Raises FileNotFoundError."""
    file = (FOLDER / f"{name}.svg").read_text("utf-8")
    drawing = file.partition("<svg")[2].partition(">")[2].rpartition("</svg>")[0]
    inner = "".join(line.strip() for line in drawing.splitlines())
    return Markup('<svg class="icon" viewBox="0 0 24 24" aria-hidden="true">{}</svg>').format(Markup(inner))  # noqa: S704
