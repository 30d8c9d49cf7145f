"""Values as JSON text that PostgreSQL's jsonb accepts and Python parses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from decimal import Decimal
from functools import partial
from typing import Any

from pgsched.domain.errors import Described, InvalidTask

MAX_JSON_BYTES = 1024 * 1024
"""Maximum length of a payload or result, as UTF-8 JSON text."""
MAX_DEPTH = 100
"""Maximum nesting of lists and objects: a parser needs some stack for each level, on top of its own."""

Container = Mapping[Any, Any] | list[Any] | tuple[Any, ...]

_LAYOUT: dict[str, Any] = {"ensure_ascii": False, "allow_nan": False, "separators": (",", ":")}
_ENCODER = json.JSONEncoder(**_LAYOUT)
# Sorting costs next to nothing, and rejects keys of several types in one object: only those can collide as text.
_STRICT_ENCODER = json.JSONEncoder(**_LAYOUT, sort_keys=True)
_PLAIN = (str, int, float, bool, type(None))
_LONGEST_PATH = 100
_NAME = re.compile(r"[\w-]+")
# jsonb has no NUL character. An even number of backslashes before it makes it text that merely looks like one.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def encode_json(value: object, what: str) -> str:
    """Return ``value`` as compact JSON text of at most 1 MiB.

    Keys that are numbers, booleans or None become text, as :func:`json.dumps` does it. ``what`` names the value in
    errors. Raises InvalidTask for a value that JSON does not have (NaN, a datetime, ...), an object in which two keys
    become the same text (1 and "1"), what jsonb cannot store (the character ``\\u0000``, half a surrogate pair),
    nesting deeper than MAX_DEPTH, and text that is too long.
    """
    try:
        text = _encode(value, what)
        size = len(text) if text.isascii() else len(text.encode())
    except UnicodeEncodeError:
        raise _refused(what, "must be Unicode text", "half a surrogate pair") from None
    except RecursionError:
        raise _too_deep(what) from None
    except (TypeError, ValueError):
        # The interpreter's reason is kept out of the chain because it may quote the value.
        raise (_refusal(value, what) or _too_deep(what)) from None
    if text.count("[") + text.count("{") > MAX_DEPTH and _is_too_deep(value):
        raise _too_deep(what)
    if "\\u0000" in text and _NUL.search(text):
        raise InvalidTask("must not contain the character \\u0000, which jsonb cannot hold", field=what)
    if size > MAX_JSON_BYTES // 2:
        # The table's rule counts the text as PostgreSQL prints it: with a space after each comma and colon.
        size = len(json.dumps(value, ensure_ascii=False).encode())
        if size > MAX_JSON_BYTES:
            raise _refused(what, "must not exceed 1 MiB as JSON", f"{size:,} bytes")
    return text


class KeyTwice(ValueError):
    """A JSON object has a key twice: a parser would keep one of its values and lose the other."""


def read_object(text: str, what: str) -> dict[str, Any]:
    """Parse a JSON object that somebody wrote. Raises InvalidTask, also for a key that occurs twice."""
    found = read_value(text, what)
    if not isinstance(found, dict):
        raise InvalidTask('must be a JSON object, such as {"name": 1}', field=what)
    return found


def read_value(text: str, what: str) -> Any:
    """Parse any JSON value that somebody wrote. Raises InvalidTask, also for a key that occurs twice."""
    try:
        return json.loads(text, object_pairs_hook=unique_keys, parse_float=exact_float, parse_constant=_no_constant)
    except json.JSONDecodeError as error:
        raise InvalidTask(f"must be JSON: {error.msg}", field=what) from None
    except (ValueError, RecursionError) as error:
        raise InvalidTask(f"must be JSON: {error}", field=what) from None


def unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Build an object from the pairs that :func:`json.loads` has parsed. Raises KeyTwice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for place, key in enumerate(keys) if key in keys[:place])
        raise KeyTwice(f"an object has the key {twice[:_LONGEST_PATH]!r} twice")
    return found


class NotExact(ValueError):
    """JSON text that parsers would read differently: ``place`` is the path of the cause, ``rule`` the reason."""

    def __init__(self, place: str, rule: str) -> None:
        super().__init__(f"{place} {rule}")
        self.place = place
        self.rule = rule


def check_exact(text: str | bytes) -> None:
    """Raise NotExact for a key that occurs twice in an object, and for a number that a double cannot represent.

    Whole numbers are exact at any length: Python and PostgreSQL keep them. Raises ValueError for invalid JSON, and
    RecursionError.
    """
    try:
        json.loads(text, object_pairs_hook=unique_keys, parse_float=exact_float, parse_constant=_no_constant)
    except (KeyTwice, _Beyond):
        # Parse it again, slowly, to find the place.
        pairs = json.loads(text, object_pairs_hook=_Pairs, parse_float=_Number, parse_constant=_Number)
        raise next(_inexact("", pairs)) from None


def exact_float(text: str) -> float:
    """Parse a number with a fraction or an exponent. Raises ValueError when the nearest double is another number."""
    value = float(text)
    # Fifteen digits always fit; the shortest text of a double has at most seventeen.
    if (len(text) > 16 or "e" in text or "E" in text) and not _is_exact(text, value):
        raise _Beyond(f"the number {text[:_LONGEST_PATH]} is beyond double precision")
    return value


def _is_exact(text: str, value: float) -> bool:
    if value - value != 0:
        return False
    digits = text.lower().partition("e")[0].lstrip("-").replace(".", "").strip("0")
    return (value != 0 or not digits) and (len(digits) <= 15 or Decimal(text) == Decimal(repr(value)))


class _Beyond(ValueError):
    """A number that would be rounded."""


class _Number(str):
    """A number as it was written."""

    __slots__ = ()


class _Pairs(list[tuple[str, Any]]):
    """An object with all its keys."""


def _no_constant(text: str) -> float:
    raise _Beyond(f"invalid JSON: {text}")


def _inexact(path: str, value: object) -> Iterator[NotExact]:
    if isinstance(value, _Pairs):
        seen = set()
        for key, inner in value:
            place = _place(path, key)
            if key in seen:
                yield NotExact(place[:_LONGEST_PATH], "must be there once: an object has this key twice")
            seen.add(key)
            yield from _inexact(place, inner)
    elif isinstance(value, list):
        for at, inner in enumerate(value):
            yield from _inexact(f"{path}[{at}]", inner)
    elif isinstance(value, _Number):
        try:
            _no_constant(value) if value[-1] in "Ny" else exact_float(value)
        except _Beyond:
            rule = f"must be a number that a double holds exactly, got {value[:_LONGEST_PATH]}; write it as text"
            yield NotExact(path[:_LONGEST_PATH], rule)


def _place(path: str, key: str) -> str:
    """Return the path of the value under a key, in one line that any terminal and any encoding can show."""
    if _NAME.fullmatch(key) is None:
        return f"{path}[{json.dumps(key)}]"
    return f"{path}.{key}" if path else key


def foreign_key(value: object) -> str | None:
    """Return the path of the first key that is not a string, ``["a"][1]``; None when every key is one.

    JSON would turn such a key into text, so a reader would receive a different key from the one that was written.
    """
    if _is_flat(value):
        return None
    for _, path, container in _containers(value):
        if isinstance(container, Mapping):
            for key in container:
                if not isinstance(key, str):
                    return f"{path}[{key!r}]"
    return None


def _encode(value: object, what: str) -> str:
    try:
        return _STRICT_ENCODER.encode(value)
    except TypeError:
        if (refusal := _refusal(value, what)) is not None:
            raise refusal from None
        return _ENCODER.encode(value)  # keys of several types that differ as text


def _is_flat(value: object) -> bool:
    """Whether this is an object with string keys and no containers that have keys: most payloads are."""
    return isinstance(value, dict) and all(type(key) is str and type(item) in _PLAIN for key, item in value.items())


def _too_deep(what: str) -> InvalidTask:
    return InvalidTask(f"must not be nested deeper than {MAX_DEPTH} levels (or hold itself)", field=what)


def _is_too_deep(value: object) -> bool:
    """Whether containers are nested deeper than MAX_DEPTH. Works level by level, so it needs no stack."""
    return any(depth > MAX_DEPTH for depth, _, _ in _containers(value))


def _containers(value: object) -> Iterator[tuple[int, str, Container]]:
    """Yield every list and object of a value with its depth and path, outermost first, none below MAX_DEPTH + 1."""
    layer: list[tuple[str, object]] = [("", value)]
    for depth in range(1, MAX_DEPTH + 2):
        containers = [(path, item) for path, item in layer if isinstance(item, Mapping | list | tuple)]
        if not containers:
            return
        for path, container in containers:
            yield depth, path, container
        layer = [(f"{path}[{key!r}]", item) for path, container in containers for key, item in _items(container)]


def _items(container: Container) -> Iterable[tuple[Any, Any]]:
    return container.items() if isinstance(container, Mapping) else enumerate(container)


def _refusal(value: object, what: str) -> InvalidTask | None:
    """Return why a value is not valid JSON, with the path of the first cause; None when its parts are not the cause."""
    if (reason := _blame(value)) is not None:
        return _refused(what, "must be JSON", reason)
    for _, path, container in _containers(value):
        refused = partial(_refused, what, path=path)
        keys: dict[str, Any] = {}
        for key, item in _items(container):
            if not isinstance(key, str | int | float | bool | None):
                return refused("must have keys that are strings", f"a {type(key).__name__}")
            if (reason := _blame(key)) is not None:
                return refused("must have keys that are strings", reason)
            if (reason := _blame(item)) is not None:
                return refused("must be JSON", reason, path=f"{path}[{key!r}]")
            same = keys.setdefault(key if isinstance(key, str) else _ENCODER.encode(key), key)
            if same is not key:
                return refused("must have keys that differ as text", f"{same!r:.50} and {key!r:.50}")
    return None


def _refused(what: str, rule: str, said: str, *, path: str = "") -> InvalidTask:
    return InvalidTask(rule, field=what, subject=what + path[:_LONGEST_PATH], value=Described(said))


def _blame(item: object) -> str | None:
    """Return what is wrong with one value by itself; None when nothing is."""
    if isinstance(item, float) and item - item != 0:
        return "infinity" if item > 0 else "-infinity" if item < 0 else "NaN"
    if isinstance(item, int):
        try:
            str(item)
        except ValueError:
            return "a whole number with too many digits"
        return None
    if item is None or isinstance(item, str | float | dict | list | tuple):
        return None
    return f"a {type(item).__name__}"
