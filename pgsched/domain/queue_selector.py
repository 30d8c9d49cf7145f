"""Parses a worker's selection of queues: ``mail``, ``mail:5``, ``mail@3``, ``mail:5@3``, ``tenant.*``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import NamedTuple

from pgsched.domain.errors import ConfigError, InvalidTask
from pgsched.domain.validation import checked, whole

MAX_AT_ONCE = 10_000
MAX_WEIGHT = 1_000

_SUFFIX = re.compile(r"(?::(?P<most>[0-9]{1,9}))?(?:@(?P<weight>[0-9]{1,9}))?\Z")
_LITERAL = "\0"
"""Replaces a character that followed a backslash, which is literal."""


class QueueSpec(NamedTuple):
    """One queue to serve, or all whose names match a pattern; ``most`` and ``weight`` then apply to each of them."""

    text: str
    """The text as given."""
    name: str
    """The name of the queue, or the text of the pattern."""
    most: int | None = None
    """Maximum number of tasks of the queue that this worker runs at once."""
    weight: int = 1
    """The queue is asked first in a share of the claims that is proportional to its weight."""
    like: str | None = None
    """The pattern in LIKE syntax; None for a queue by name."""

    def matches(self, queue: str) -> bool:
        """Whether this is the queue, or its name matches the pattern."""
        return queue == self.name if self.like is None else fits_like(queue, self.like)


def parse_queue_spec(text: str) -> QueueSpec:
    r"""Parse ``NAME[:MOST][@WEIGHT]``; in NAME ``*`` matches any characters and ``?`` one.

    A backslash makes the next character literal: ``mail\:5`` is a queue of that name. Raises ConfigError.
    """
    letters, shape = _letters(text)
    suffix = _SUFFIX.search(shape)
    assert suffix is not None  # it also matches the empty end  # noqa: S101
    letters, shape = letters[: suffix.start()], shape[: suffix.start()]
    name = "".join(letters)
    try:
        checked("queue", name)
    except InvalidTask as error:
        raise ConfigError.of(error, field="queues", subject="queues: a name", value=text) from None
    most = _number(text, "at once", suffix["most"], MAX_AT_ONCE)
    weight = _number(text, "weight", suffix["weight"], MAX_WEIGHT) or 1
    if not set("*?") & set(shape):
        return QueueSpec(text, name, most, weight)
    like = "".join(map(_like, letters, shape))
    return QueueSpec(text, text[: len(text) - len(suffix[0])], most, weight, like)


def parse_queue_specs(texts: Iterable[str]) -> tuple[QueueSpec, ...]:
    """Parse several selections; none may occur twice. Raises ConfigError."""
    specs = tuple(map(parse_queue_spec, texts))
    if not specs:
        raise ConfigError("queues must name at least one queue")
    if len({(spec.name, spec.like) for spec in specs}) < len(specs):
        raise ConfigError(f"queues must not name a queue twice, got {', '.join(spec.text for spec in specs)}")
    return specs


def glob_of(like: str) -> str:
    """Return a LIKE pattern in the syntax of the command line."""
    return re.sub(
        r"\\(.)|([%_*?\\])",
        lambda found: (
            {"*": r"\*", "?": r"\?", "\\": "\\\\"}.get(found[1], found[1])
            if found[1]
            else {"%": "*", "_": "?"}.get(found[2], "\\" + found[2])
        ),
        like,
        flags=re.DOTALL,
    )


def fits_like(queue: str, like: str) -> bool:
    """Return whether the name of a queue matches a LIKE pattern."""
    return _expression(like).fullmatch(queue) is not None


@lru_cache(maxsize=1024)
def _expression(like: str) -> re.Pattern[str]:
    meaning = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", like, re.DOTALL)
    return re.compile("".join(meaning.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


def _letters(text: str) -> tuple[list[str], str]:
    """Return the text without backslashes, and the same with every escaped character replaced by ``_LITERAL``."""
    letters: list[str] = []
    shape: list[str] = []
    rest = iter(text)
    for letter in rest:
        if letter == "\\":
            escaped = next(rest, None)
            if escaped is None:
                raise ConfigError(f"queues: a name must not end in a single backslash, got {text!r}")
            letters.append(escaped)
            shape.append(_LITERAL)
        else:
            letters.append(letter)
            shape.append(letter)
    return letters, "".join(shape)


def _like(letter: str, shape: str) -> str:
    if shape in "*?":
        return "%" if shape == "*" else "_"
    return "\\" + letter if letter in "\\%_" else letter


def _number(text: str, what: str, digits: str | None, highest: int) -> int | None:
    if digits is None:
        return None
    try:
        return int(whole(1, highest)(what, int(digits)))
    except InvalidTask as error:
        raise ConfigError.of(error, field="queues").within(f"queue {text!r}") from None
