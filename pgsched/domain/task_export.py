"""Exports tasks as lines of a file: CSV for spreadsheets, JSON lines for programs."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any, Final

from pgsched.domain.records import Task

FORMATS: Final = ("csv", "jsonl")
MEDIA_TYPES: Final = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl; charset=utf-8"}
COLUMNS: Final = tuple(field.name for field in fields(Task))
"""The columns of a line, in this order."""
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
"""A spreadsheet may take a cell that begins with one of these for a formula (OWASP, CSV injection)."""


def lines_of(kind: str) -> tuple[str, Callable[[Mapping[str, Any]], str]]:
    """Return the header of a file of this kind, and the function that formats a task's JSON-able dictionary."""
    return (csv_line(COLUMNS), csv_task) if kind == "csv" else ("", json_line)


def json_line(task: Mapping[str, Any]) -> str:
    """Return a task as a line of JSON."""
    return json.dumps(task, ensure_ascii=False, separators=(",", ":")) + "\n"


def csv_task(task: Mapping[str, Any]) -> str:
    """Return a task as a line of CSV (RFC 4180)."""
    return csv_line(task[name] for name in COLUMNS)


def csv_line(values: Iterable[Any]) -> str:
    """Return values as a line of CSV; an apostrophe precedes a text that a spreadsheet would take for a formula.

    All texts are quoted. Numbers are plain; lists and objects are JSON; None is empty.
    """
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_NONNUMERIC, lineterminator="\r\n").writerow([_cell(value) for value in values])
    return text.getvalue()


def _cell(value: Any) -> str | int | float:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return value
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return "'" + text if text.startswith(_FORMULA) else text
