"""Output of commands: tables for people, JSON for programs."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import click

from pgsched.domain.interval import Interval

GAP = "  "
NARROWEST = 5
"""Columns are not narrowed below this many characters."""

Columns = Mapping[str, str | Callable[[Any], object]]
"""Maps each header to its value: an attribute of the record, or a function of it."""

_UNITS = (("d", 86_400), ("h", 3_600), ("m", 60), ("s", 1))


# Tables.


def table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None) -> str:
    """Align the rows under their headers, numbers to the right.

    With ``width`` no line is longer: the widest columns shrink first, and truncated text ends in an ellipsis.
    """
    values = [list(row) for row in rows]
    cells = [[cell(value) for value in row] for row in values]
    widths = [max(map(_columns, column)) for column in zip(headers, *cells, strict=True)]
    if width is not None:
        _narrow(widths, width - len(GAP) * (len(widths) - 1))
    to_right = [
        any(_is_number(row[at]) for row in values) and all(row[at] is None or _is_number(row[at]) for row in values)
        for at in range(len(headers))
    ]
    lines = [_line(line, widths, to_right) for line in [list(headers), *cells]]
    return "\n".join(line if width is None else _cut(line, width) for line in lines)


def fields(pairs: Iterable[tuple[str, object]]) -> str:
    """One name and value per line, with the values aligned."""
    shown = [(name, cell(value)) for name, value in pairs]
    longest = max((len(name) for name, _ in shown), default=0)
    return "\n".join(f"{name:<{longest}}{GAP}{value}".rstrip() for name, value in shown)


def cell(value: object) -> str:
    """Return a value as one line of text without control characters, whatever the table contains."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return moment(value)
    if isinstance(value, (dict, list)):
        text = json.dumps(value, default=plain, ensure_ascii=False)
    elif isinstance(value, Interval):
        text = value.to_short_text()
    else:
        text = str(value)
    return "".join(letter if letter.isprintable() else " " for letter in text)


def first_line(text: str | None) -> str | None:
    """Return the first line of a text, or None."""
    return text if text is None else next(iter(text.strip().splitlines()), "")


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _narrow(widths: list[int], room: int) -> None:
    while sum(widths) > room and max(widths) > NARROWEST:
        widths[widths.index(max(widths))] -= 1


def _line(cells: Sequence[str], widths: Sequence[int], to_right: Sequence[bool]) -> str:
    parts = []
    for text, width, right in zip(cells, widths, to_right, strict=True):
        fitting = _cut(text, width)
        space = " " * (width - _columns(fitting))
        parts.append(space + fitting if right else fitting + space)
    return GAP.join(parts).rstrip()


def _columns(text: str) -> int:
    """Width in terminal columns: wide East Asian characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _cut(text: str, width: int) -> str:
    if _columns(text) <= width:
        return text
    while text and _columns(text) > width - 1:
        text = text[:-1]
    return text + "…"


# Times.


def moment(at: datetime, *, now: datetime | None = None) -> str:
    """Return a time in UTC, to the second, and its distance from now: ``2026-03-29T06:00:00Z (in 5 m)``."""
    try:
        exact = at.astimezone(UTC)
    except (OverflowError, ValueError):
        return str(at)
    return f"{exact.replace(tzinfo=None).isoformat(timespec='seconds')}Z ({_distance(exact, now)})"


def _distance(at: datetime, now: datetime | None) -> str:
    seconds = (at - (now or datetime.now(UTC))).total_seconds()
    if abs(seconds) < 1:
        return "now"
    size = span(abs(seconds))
    return f"in {size}" if seconds > 0 else f"{size} ago"


def span(seconds: float) -> str:
    """Return a duration in its largest unit, rounded down (``90`` is ``1 m``); below a second in ms."""
    if seconds < 1:
        return f"{seconds * 1000:.0f} ms"
    unit, size = next((unit, size) for unit, size in _UNITS if seconds >= size)
    return f"{int(seconds // size)} {unit}"


# JSON.


def plain(value: Any) -> Any:
    """Encode what JSON lacks: times as ISO 8601 in UTC, durations in seconds, anything else as text."""
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, timedelta):
        return value.total_seconds()
    return str(value)


def say_json(value: Any) -> None:
    """Print a value as JSON."""
    click.echo(json.dumps(value, default=plain, ensure_ascii=False, indent=2))


# Printing.


def say(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def say_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, truncated to the terminal's width if there is one; print ``empty`` if there are no rows."""
    found = list(rows)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    say(table(headers, found, width=width) if found else empty)


def say_records(records: Sequence[Any], columns: Columns, *, as_json: bool = False, empty: str = "") -> None:
    """Print records as a table, or as a JSON array for programs."""
    if as_json:
        say_json([record.as_dict() for record in records])
        return
    values = [[getattr(one, of) if isinstance(of, str) else of(one) for of in columns.values()] for one in records]
    say_table(list(columns), values, empty=empty)
    if (cursor := getattr(records, "next_cursor", None)) is not None:
        click.echo(f"there may be more: --cursor {cursor}", err=True)


def say_record(record: Any, in_words: Callable[[Any], None], *, as_json: bool) -> None:
    """Print a record by ``in_words`` for people, or as a JSON object for programs."""
    if as_json:
        say_json(record.as_dict())
    else:
        in_words(record)


def count(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
