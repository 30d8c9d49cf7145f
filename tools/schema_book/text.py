"""How the book formats SQL: in lower case, with short names of types, in lines of at most 120 characters."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterable
from typing import Final

WIDTH: Final = 120
AFTER_COMMAS: Final = r"(?<=,) "
AT_AND_OR: Final = r" (?=(?:and|or) )"
_LITERAL: Final = r"'(?:[^']|'')*'"
_SHORT: Final = {"timestamp with time zone": "timestamptz", "timestamp without time zone": "timestamp"}


def plain(expression: str) -> str:
    """Return PostgreSQL's output in its usual written form."""
    expression = _outside_literals(expression, _lower)
    expression = re.sub(rf"({_LITERAL})::text\b(?!\[)", r"\1", expression)
    literals = rf"{_LITERAL}(?:, {_LITERAL})*"
    expression = re.sub(rf"<> all \(array\[({literals})\]\)", r"not in (\1)", expression)
    expression = re.sub(rf"= any \(array\[({literals})\]\)", r"in (\1)", expression)
    return re.sub(r"\b10{308}\b", "1e308", expression)


def _lower(text: str) -> str:
    for name, short in _SHORT.items():
        text = text.replace(name, short)
    return re.sub(r"\b[A-Z_]+\b", lambda word: word[0].lower(), text)


def _outside_literals(text: str, change: Callable[[str], str]) -> str:
    parts = re.split(f"({_LITERAL})", text)
    return "".join(part if number % 2 else change(part) for number, part in enumerate(parts))


def literal(text: str) -> list[str]:
    """Return text as a literal, in lines: a long one in pieces, which SQL concatenates. The text's line breaks stay."""
    quoted = text.replace("'", "''")
    if "\n" in quoted:
        return f"'{quoted}'".split("\n")
    # A piece must not end between two doubled quotes.
    pieces = textwrap.wrap(text, WIDTH - 10, drop_whitespace=False, break_on_hyphens=False)
    return ["'" + piece.replace("'", "''") + "'" for piece in pieces]


def remark(text: str | None, indent: str = "") -> list[str]:
    """Return text as comment lines."""
    width = WIDTH - len(indent) - 3
    lines = [line for part in (text or "").splitlines() for line in textwrap.wrap(part, width, break_on_hyphens=False)]
    return [f"{indent}-- {line}" for line in lines]


def filled(items: Iterable[str], indent: str) -> list[str]:
    """Return items in lines filled to the width, each but the last with a comma."""
    lines: list[str] = []
    listed = list(items)
    for number, item in enumerate(listed):
        text = item if number == len(listed) - 1 else f"{item},"
        if lines and len(lines[-1]) + 1 + len(text) <= WIDTH:
            lines[-1] += f" {text}"
        else:
            lines.append(indent + text)
    return lines


def broken(text: str, indent: str, *places: str) -> list[str]:
    """Return one line, or several when it is too long: cut at a match of the first pattern, then of the next.

    Literals stay whole.
    """
    if len(indent) + len(text) <= WIDTH or not places:
        return [indent + text]
    lines: list[str] = []
    literals = iter(re.findall(_LITERAL, text))
    for piece in re.split(places[0], re.sub(_LITERAL, "''", text)):
        part = re.sub("''", lambda _: next(literals), piece)
        deeper = f"{indent}  " if lines else indent
        if lines and len(lines[-1]) + 1 + len(part) <= WIDTH:
            lines[-1] += f" {part}"
        else:
            lines += broken(part, deeper, *places[1:])
    return lines


def split_arguments(text: str) -> list[str]:
    """Return the arguments of a list; commas may also occur in parentheses and literals."""
    found, depth, quoted, start = [], 0, False, 0
    for place, letter in enumerate(text):
        if letter == "'":
            quoted = not quoted
        elif not quoted and letter in "([":
            depth += 1
        elif not quoted and letter in ")]":
            depth -= 1
        elif not quoted and letter == "," and depth == 0:
            found.append(text[start:place].strip())
            start = place + 1
    last = text[start:].strip()
    return [*found, last] if last else found
