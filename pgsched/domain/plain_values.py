"""Python values in JSON form: times, UUIDs, decimals, enums, bytes, sets, dataclasses, models."""

from __future__ import annotations

import base64
import dataclasses
import json
import re
from collections.abc import Callable, Mapping, Sequence, Set
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from math import isfinite, isnan
from numbers import Integral, Real
from pathlib import PurePath
from typing import Any
from uuid import UUID

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import MAX_DEPTH

Foreign = Callable[[str, object], str]
"""Receives the path of a part that JSON does not have, ``value['a'][1]``, and the part; returns the text for it."""

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


def plain(value: object, path: str, foreign: Foreign, depth: int = 0) -> Any:
    """Return ``value``, called ``path``, with everything that JSON does not have as text, a list or an object.

    NaN and the infinities become text, such as ``"NaN"``; bytes become URL-safe base64; a timedelta becomes an ISO 8601
    duration. Raises InvalidTask for a value that is nested too deep or contains itself, and for an object in which two
    keys become the same text.
    """
    if depth > MAX_DEPTH:
        raise InvalidTask(
            f"must not be nested deeper than {MAX_DEPTH} levels (or hold itself)", field=path.partition("[")[0]
        )
    if isinstance(value, Enum):
        value = value.value
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return foreign(path, value) if _UNSTORABLE.search(value) else str(value)
    simple = _simple(value)
    if simple is not None:
        return simple
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    elif callable(getattr(type(value), "model_dump", None)):
        value = _dumped(value)
    if isinstance(value, Mapping):
        return _object(value, path, foreign, depth)
    if isinstance(value, Sequence):
        return [plain(item, f"{path}[{at}]", foreign, depth + 1) for at, item in enumerate(value)]
    if isinstance(value, Set):
        return _sorted([plain(item, f"{path}[…]", foreign, depth + 1) for item in value])
    return foreign(path, value)


def _simple(value: object) -> int | float | str | None:
    """Return a value that has no parts; None for any other."""
    if isinstance(value, Integral):
        return int(value)
    if isinstance(value, Real):
        number = float(value)
        return number if isfinite(number) else "NaN" if isnan(number) else "Infinity" if number > 0 else "-Infinity"
    if isinstance(value, Decimal | UUID | PurePath):
        return str(value)
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return _duration(value)
    if isinstance(value, bytes | bytearray | memoryview):
        return base64.urlsafe_b64encode(value).decode()
    return None


def _dumped(model: Any) -> object:
    """Return the fields of a pydantic model, by its own rules where they give JSON; anything else unchanged."""
    for mode in ("json", "python"):
        try:
            return model.model_dump(mode=mode, by_alias=True)
        except Exception:  # noqa: BLE001, S112 - its serializers are foreign code
            continue
    return model


def _object(value: Mapping[Any, Any], path: str, foreign: Foreign, depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, item in value.items():
        place = f"{path}[{key!r:.50}]"
        name = key if type(key) is str else plain(key, place, foreign, depth + 1)
        if not isinstance(name, str):
            name = foreign(place, key) if isinstance(name, list | dict) else json.dumps(name)
        if name in found:
            raise InvalidTask("must have keys that differ as text", field=path)
        found[name] = plain(item, place, foreign, depth + 1)
    return found


def _sorted(items: list[Any]) -> list[Any]:
    """Return the items of a set in a stable order, where they have one."""
    try:
        return sorted(items)
    except TypeError:
        return items


def _duration(value: timedelta) -> str:
    """Return an ISO 8601 duration, such as ``P1DT2H0.5S``."""
    sign = "-" if value < timedelta() else ""
    value = abs(value)
    hours, rest = divmod(value.seconds, 3600)
    minutes, seconds = divmod(rest, 60)
    fraction = f".{value.microseconds:06}".rstrip("0") if value.microseconds else ""
    clock = "".join(
        f"{number}{unit}"
        for number, unit in ((hours, "H"), (minutes, "M"), (f"{seconds}{fraction}", "S"))
        if number not in (0, "0")
    )
    days = f"{value.days}D" if value.days else ""
    return f"{sign}P{days}{'T' + clock if clock else ''}" if days or clock else "PT0S"
