"""Small pieces of Markdown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table, with a line at its end; nothing for one without rows."""
    body = ["| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows]
    if not body:
        return ""
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns), *body]
    # An empty cell is one space, as usual in Markdown.
    return re.sub(r"\|  (?=\|)", "| ", "\n".join(lines)) + "\n"


def code(text: str) -> str:
    """Text as code; empty text stays empty."""
    if not text:
        return ""
    return f"`` {text} ``" if "`" in text else f"`{text}`"


def anchor(heading: str) -> str:
    """The anchor of a heading, as GitHub generates it."""
    plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "").strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


def page(*parts: str) -> str:
    """Join parts with an empty line between them."""
    return "\n\n".join(part.strip("\n") for part in parts if part.strip()) + "\n"
