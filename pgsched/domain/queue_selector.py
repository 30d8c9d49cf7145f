"""What a worker is told of its queues: ``mail``, ``mail:5``, ``mail@3``, ``mail:5@3``, ``tenant.*``."""

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
"""Stands for a character that a backslash went before: it is nothing but itself."""


class QueueSpec(NamedTuple):
    """One queue to serve, or all whose name fits a pattern; ``most`` and ``weight`` are then of each of them."""

    text: str
    """As it was given."""
    name: str
    """The queue; of a pattern what was given for it."""
    most: int | None = None
    """So many of this worker's tasks at once are of this queue at the most."""
    weight: int = 1
    """In a share of the claims that is proportional to it the queue is asked first."""
    like: str | None = None
    """The pattern, as LIKE has it; None for a queue by name."""

    def matches(self, queue: str) -> bool:
        """Whether this is the queue, or its name fits the pattern."""
        return queue == self.name if self.like is None else fits_like(queue, self.like)


def parse_queue_spec(text: str) -> QueueSpec:
    r"""Read ``NAME[:MOST][@WEIGHT]``; in NAME ``*`` stands for any characters and ``?`` for one.

    A backslash takes the meaning from the character after it: ``mail\:5`` is a queue of that name. Raises ConfigError.
    """
    letters, shape = _letters(text)
    suffix = _SUFFIX.search(shape)
    assert suffix is not None  # it fits the empty end, too  # noqa: S101
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
    """Read several; none may come twice. Raises ConfigError."""
    specs = tuple(map(parse_queue_spec, texts))
    if not specs:
        raise ConfigError("queues must name at least one queue")
    if len({(spec.name, spec.like) for spec in specs}) < len(specs):
        raise ConfigError(f"queues must not name a queue twice, got {', '.join(spec.text for spec in specs)}")
    return specs


def glob_of(like: str) -> str:
    """Return a pattern of LIKE as the command line has it."""
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
    """Return whether the name of a queue fits a pattern of LIKE."""
    return _expression(like).fullmatch(queue) is not None


@lru_cache(maxsize=1024)
def _expression(like: str) -> re.Pattern[str]:
    meaning = {"%": ".*", "_": "."}
    parts = re.findall(r"\\.|.", like, re.DOTALL)
    return re.compile("".join(meaning.get(part) or re.escape(part[-1]) for part in parts), re.DOTALL)


def _letters(text: str) -> tuple[list[str], str]:
    """The characters without the backslashes, and the same with every escaped one as ``_LITERAL``."""
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
