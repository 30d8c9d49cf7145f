"""Formats values in findings."""

from __future__ import annotations

import shlex
from collections.abc import Sequence


def age(seconds: float | None) -> str:
    """A duration in its two largest units: ``1 h 5 m``."""
    rest = int(seconds or 0)
    parts = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1)):
        number, rest = divmod(rest, size)
        if number:
            parts.append(f"{number} {unit}")
    return " ".join(parts[:2]) or "0 s"


def literal(text: str) -> str:
    """A text as an SQL literal."""
    return "'" + text.replace("'", "''") + "'"


def word(text: str) -> str:
    """A text as a quoted word of a command line."""
    return shlex.quote(text)


def many(number: int, noun: str, most: int | None = None) -> str:
    """``1 task``, ``2 tasks``, ``1,000+ tasks`` where counting stopped."""
    shown = f"{number:,}" if most is None or number < most else f"{most:,}+"
    return f"{shown} {noun}" if number == 1 else f"{shown} {noun}s"


def some_ids(ids: Sequence[int], number: int) -> str:
    """``task 5``, ``tasks 5, 6, 7 and more``."""
    listed = ", ".join(map(str, ids))
    return f"task {listed}" if number == 1 else f"tasks {listed}{' and more' if number > len(ids) else ''}"
