"""Makes what a handler produces storable in PostgreSQL: an error, a log line or progress never fails for its form."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import encode_json
from pgsched.domain.plain_values import plain


def storable(text: str, longest: int) -> str:
    """Return ``text`` in a form that PostgreSQL can store: no NUL, no lone surrogate, a long one shortened."""
    clean = text.replace("\x00", "\\x00").encode("utf-8", "backslashreplace").decode("utf-8")
    if len(clean) <= longest:
        return clean
    half = longest // 2 - 10
    return f"{clean[:half]}\n…\n{clean[-half:]}"


def storable_json(value: object, longest: int) -> str:
    """Return ``value`` as JSON text; :func:`plain` converts what JSON does not have, other parts become text."""
    try:
        return encode_json(value, "value")
    except InvalidTask:
        with suppress(Exception):  # a foreign value may raise anything when it is used
            return encode_json(plain(value, "value", lambda _path, item: storable(text_of(item), longest)), "value")
        if isinstance(value, Mapping):
            parts = {storable(text_of(key), 100): _part(item, longest) for key, item in value.items()}
            with suppress(InvalidTask):  # too long in total
                if len(parts) == len(value):  # else some keys are the same as text
                    return encode_json(parts, "value")
        return encode_json(storable(text_of(value), longest), "value")


def _part(item: object, longest: int) -> object:
    try:
        encode_json(item, "value")
    except InvalidTask:
        return storable(text_of(item), longest)
    return item


def text_of(value: object) -> str:
    """Return the text of any value, even one that has none."""
    try:
        return str(value)
    except BaseException:  # noqa: BLE001 - a foreign __str__ may raise anything
        return f"a {type(value).__name__} that cannot be printed"
