"""Docstrings as Markdown."""

from __future__ import annotations

import inspect
import re

from tools.docs.markdown import anchor

SQL = "reference_sql.md"


def prose(text: str | None) -> str:
    """A docstring as Markdown, with line breaks between its paragraphs."""
    return "\n\n".join(_plain(part) for part in inspect.cleandoc(text or "").split("\n\n"))


def in_line(text: str | None) -> str:
    """A docstring as Markdown in one line."""
    return " ".join(_plain(part) for part in inspect.cleandoc(text or "").split("\n\n"))


def _plain(paragraph: str) -> str:
    joined = " ".join(paragraph.split()).removesuffix("::")
    joined = re.sub(r":(?:meth|class|func|data|attr):`~?([^`]+)`", lambda role: f"``{_short_name(role[1])}``", joined)
    joined = re.sub(r":\w+:`~?([^`]+)`", r"``\1``", joined)
    joined = re.sub(r"``([^`]*)``", r"`\1`", joined)
    return re.sub(
        r"\b(row of )(`(pgsched\.\w+)`)", lambda found: f"{found[1]}[{found[2]}]({SQL}#{anchor(found[3])})", joined
    )


def _short_name(dotted: str) -> str:
    """Return ``Client.schedule`` for ``pgsched.client.Client.schedule``."""
    return re.sub(r"^(?:[a-z_]\w*\.)+", "", dotted)
