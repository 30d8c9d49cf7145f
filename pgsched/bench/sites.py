"""The sites of ``pgsched bench --predict``: read from text, and chosen where nobody names one. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from pgsched.bench.forecast import Site
from pgsched.domain.errors import InvalidTask

_UNITS = {"us": 1e-6, "ms": 1e-3, "s": 1.0}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)(us|ms|s)")


def _seconds(text: str) -> float:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError("must be a duration such as 0.2ms, 50us or 1s")
    return float(found[1]) * _UNITS[found[2]]


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise ValueError("must be a whole number between 1 and 100000")
    return int(text)


_READ: Mapping[str, Callable[[str], float]] = {
    "cores": _count,
    "worker-cores": _count,
    "processes": _count,
    "concurrency": _count,
    "connections": _count,
    "round-trip": _seconds,
    "sync": _seconds,
    "handler": _seconds,
}
NAMES = tuple(_READ)


def read_site(text: str, measured: Site) -> Site:
    """Read ``cores=8,round-trip=1ms``: what differs from the measured site. Raises InvalidTask, naming the part."""
    given: dict[str, float] = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name not in _READ:
            raise InvalidTask(
                f"invalid prediction {part.strip()!r}: must be NAME=VALUE, NAME one of {', '.join(NAMES)}"
            )
        field = name.replace("-", "_")
        if field in given:
            raise InvalidTask(f"invalid prediction {text!r}: {name} is given twice")
        try:
            given[field] = _READ[name](value)
        except ValueError as error:
            raise InvalidTask(f"invalid prediction {part.strip()!r}: {name} {error}") from None
    return replace(measured, **given)  # type: ignore[arg-type]


def usual_sites(measured: Site) -> list[Site]:
    """Return the sites to predict by default: this one, one with four times the processors, one farther away."""
    more = int(measured.cores * 4)
    return [
        measured,
        replace(measured, cores=more, processes=more),
        replace(measured, round_trip=measured.round_trip + 0.001),
    ]
