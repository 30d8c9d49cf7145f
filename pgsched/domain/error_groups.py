"""Groups equal errors: the exception, and its message without what differs from task to task. Pure."""

from __future__ import annotations

import hashlib
import re
from typing import Final, NamedTuple

MAX_HEADLINE: Final = 1_000
"""Number of characters of an error that are examined: its summary precedes the traceback."""
MAX_MESSAGE: Final = 300
"""Maximum length of a normalized message."""
MAX_PASSES: Final = 20
"""Replacing a placeholder can expose text for another rule, so the rules run up to this often (usually twice)."""
OTHER: Final = "other"
"""The group of all errors beyond the most frequent."""

_EXCEPTION: Final = re.compile(r"([A-Za-z_][\w.]*?\.)?([A-Z_]\w*)(?::\s|\s*$)")
_RULES: Final = tuple(
    (re.compile(pattern), placeholder)
    for pattern, placeholder in (
        # First, because another rule would break a quoted text apart and leave some of it visible.
        (r"(?<!\w)\"(?:[^\"\\]|\\.)*\"|(?<!\w)'(?:[^'\\]|\\.)*'(?!\w)|`[^`]*`", "<text>"),
        (r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>\])]+", "<url>"),
        (r"\b[\w.+-]+@[\w-]+(?:\.[\w-]+)+\b", "<email>"),
        (r"\b[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}\b", "<uuid>"),
        (
            r"\b\d{4}-\d\d?-\d\d?(?:[T ]\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?(?:\s?(?:Z|UTC|[+-]\d\d:?(?:\d\d)?))?)?(?!\w)",
            "<time>",
        ),
        (r"\b\d\d?:\d\d(?::\d\d(?:[.,]\d+)?)?\b", "<time>"),
        (r"\b0[xX][0-9a-fA-F]+\b", "<hex>"),
        (r"\b(?=[0-9a-fA-F]*\d)(?=[0-9a-fA-F]*[a-fA-F])[0-9a-fA-F]{8,}\b", "<hex>"),
        (r"(?<![\w.])[+-]?\d+(?:[.,_]\d+)*(?:[eE][+-]?\d+)?(?=[a-zA-Z%µ]{0,3}(?!\w))", "<n>"),
        (r"\d+", "<n>"),
    )
)
_PLACEHOLDER: Final = re.compile(r"(<(?:url|email|uuid|time|text|hex|n)>)")
_RUN: Final = re.compile(r"(<(?:url|email|uuid|time|text|hex|n)>)(?:\s*,\s*\1)+")
_SPACE: Final = re.compile(r"\s+")


class ErrorGroup(NamedTuple):
    """Errors that count as the same."""

    exception: str
    """The exception class, without its module; empty when the error was not raised by a handler."""
    message: str
    """The message, with placeholders for numbers, ids, quoted texts and times."""

    @property
    def fingerprint(self) -> str:
        """The fingerprint of the group: the same in every process and release."""
        return hashlib.sha256(f"{self.exception}\n{self.message}".encode("utf-8", "replace")).hexdigest()[:16]


def headline(error: str) -> str:
    """Return the summary of an error: everything up to the first blank line, where the traceback begins."""
    return error[:MAX_HEADLINE].partition("\n\n")[0]


def group_of(error: str) -> ErrorGroup:
    """Return the group of an error, given as the history and ``last_error`` store it, or of its headline."""
    text = headline(error).strip()
    found = _EXCEPTION.match(text)
    if found is None:
        return ErrorGroup("", normalized(text))
    return ErrorGroup(found[2], normalized(text[found.end() :]))


def normalized(message: str) -> str:
    """Return a message with placeholders. Normalizing it again changes nothing."""
    text = _SPACE.sub(" ", message).strip()[:MAX_HEADLINE]
    for _ in range(MAX_PASSES):
        following = _normalized_once(text)
        if following == text:
            break
        text = following
    return text


def _normalized_once(text: str) -> str:
    for pattern, placeholder in _RULES:
        # Leave placeholders of earlier rules alone.
        parts = _PLACEHOLDER.split(text)
        text = "".join(part if at % 2 else pattern.sub(placeholder, part) for at, part in enumerate(parts))
    text = _SPACE.sub(" ", _RUN.sub(r"\1", text)).strip()
    if len(text) > MAX_MESSAGE:
        text = text[: MAX_MESSAGE - 1].rstrip("… <") + "…"
    return text
