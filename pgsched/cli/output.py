"""Output of commands: tables for people, JSON and CSV for programs."""

from __future__ import annotations

import json
import shutil
import sys
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import click

from pgsched.cli.times import moment
from pgsched.domain.interval import Interval

GAP = "  "
NARROWEST = 5
"""Columns are not narrowed below this many characters."""

Columns = Mapping[str, str | Callable[[Any], object]]
"""Maps each header to its value: an attribute of the record, or a function of it."""

TABLE, JSON, CSV = OUTPUTS = ("table", "json", "csv")
_COLOURS: Final = {
    **dict.fromkeys(("dead", "failed", "timed_out", "lost", "crashed", "offline", "error"), "red"),
    **dict.fromkeys(("blocked", "paused", "draining", "disabled", "warning", "cancelled"), "yellow"),
    **dict.fromkeys(("completed", "online", "ok"), "green"),
    **dict.fromkeys(("running", "active"), "cyan"),
}
"""The colours of states, on terminals."""
_COLOURED: Final = ("STATUS", "STATE")
"""Columns whose cells have a colour."""


# Tables.


def table(
    headers: Sequence[str], rows: Iterable[Sequence[object]], *, width: int | None = None, coloured: bool = False
) -> str:
    """Align the rows under their headers, numbers to the right.

    With ``width`` no line is longer: the widest columns shrink first, and truncated text ends in an ellipsis.
    ``coloured`` tables have bold headers and coloured states.
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
    lines = [line if width is None else _cut(line, width) for line in lines]
    if coloured:
        at = next((at for at, name in enumerate(headers) if name in _COLOURED), None)
        begin = None if at is None else sum(widths[:at]) + at * len(GAP)
        lines = [click.style(lines[0], bold=True), *(_coloured(line, begin) for line in lines[1:])]
    return "\n".join(lines)


def _coloured(line: str, begin: int | None) -> str:
    """Colour the state that begins in this column of the terminal."""
    if begin is None or not line.isascii():  # wide letters: its place in the text is another one
        return line
    state = line[begin:].split(GAP)[0]
    colour = _COLOURS.get(state.split(",")[0].strip())
    return line if colour is None else line[:begin] + click.style(state, fg=colour) + line[begin + len(state) :]


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


# JSON and CSV.


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


def say_csv(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print dictionaries as CSV, with their keys as the header; nothing if there are none.

    The rules are those of exports: no cell begins as a spreadsheet's formula does.
    """
    from pgsched.domain.task_export import csv_line  # imported late: seldom needed

    names = list(dict.fromkeys(name for row in rows for name in row))
    if rows:
        lines = [csv_line(names), *(csv_line(_csv_value(row.get(name)) for name in names) for row in rows)]
        click.echo("".join(lines), nl=False)


def _csv_value(value: Any) -> Any:
    return plain(value) if isinstance(value, datetime | timedelta) else value


# Printing.


def say(text: str = "") -> None:
    """Print a line."""
    click.echo(text)


def say_done(text: str) -> None:
    """Print what a command has changed; nothing with ``--quiet``."""
    if not is_quiet():
        click.echo(text)


def say_aside(text: str) -> None:
    """Print a line about the output to stderr; nothing with ``--quiet``."""
    if not is_quiet():
        click.echo(text, err=True)


def is_quiet() -> bool:
    """Whether ``--quiet`` was given."""
    context = click.get_current_context(silent=True)
    return context is not None and bool(getattr(context.find_root().obj, "quiet", False))


def say_table(headers: Sequence[str], rows: Iterable[Sequence[object]], *, empty: str = "") -> None:
    """Print a table, truncated to the terminal's width if there is one; print ``empty`` if there are no rows."""
    found = list(rows)
    on_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if on_terminal else None
    say(table(headers, found, width=width, coloured=on_terminal) if found else empty)


def say_records(records: Sequence[Any], columns: Columns, *, output: str = TABLE, empty: str = "") -> None:
    """Print records as a table, as one JSON array, or as CSV with the keys of the JSON objects as its header."""
    if output == TABLE:
        values = [[getattr(one, of) if isinstance(of, str) else of(one) for of in columns.values()] for one in records]
        say_table(list(columns), values, empty=empty)
    else:
        (say_json if output == JSON else say_csv)([record.as_dict() for record in records])
    if (cursor := getattr(records, "next_cursor", None)) is not None:
        say_aside(f"there may be more: --cursor {cursor}")


def say_record(record: Any, in_words: Callable[[Any], None], *, output: str = TABLE) -> None:
    """Print a record by ``in_words`` for people, as a JSON object, or as CSV with one row."""
    if output == TABLE:
        in_words(record)
    elif output == JSON:
        say_json(record.as_dict())
    else:
        say_csv([record.as_dict()])


def count(number: int, noun: str) -> str:
    """``1 task``, ``2 tasks``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
