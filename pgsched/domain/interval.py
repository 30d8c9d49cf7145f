"""The interval type of PostgreSQL as a plain value: months, days and microseconds, each kept apart.

A ``timedelta`` cannot hold one: a month has no fixed length, and a day of a time zone has 23 to 25 hours.
"""

from __future__ import annotations

import re
from datetime import timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from typing import NamedTuple

from pgsched.domain.errors import InvalidTask

_RULE = 'must be seconds ("90", "0.5") or amounts with units ms, s, m, h, d, w, mo ("15m", "1h30m", "1mo")'
_MAX_TEXT = 100
_SECOND = 1_000_000
_DAY = 86_400 * _SECOND

_NUMBER = re.compile(r"[0-9]+(\.[0-9]+)?", re.ASCII)
_PART = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*(ms|mons|mo|days|secs|[smhdw])\s*", re.ASCII)
_OWN_WORDS = {"mons": "mo", "days": "d", "secs": "s"}
_MICROSECONDS = {"ms": 1_000, "s": _SECOND, "m": 60 * _SECOND, "h": 3_600 * _SECOND}
_DAYS = {"d": 1, "w": 7}


class Interval(NamedTuple):
    """The three fields of a PostgreSQL interval: ``months``, ``days`` and ``microseconds``.

    Months and days follow the calendar of a time zone, microseconds are elapsed time.
    """

    months: int = 0
    """Calendar months."""
    days: int = 0
    """Calendar days; one may have 23 or 25 hours."""
    microseconds: int = 0
    """Elapsed time."""

    @classmethod
    def from_timedelta(cls, value: timedelta) -> Interval:
        """Return the interval that psycopg stores for a ``timedelta``: its days as days, the rest as microseconds.

        So ``timedelta(hours=24)`` is one calendar day, which may last 23 or 25 hours.
        """
        return cls(0, value.days, value.seconds * _SECOND + value.microseconds)

    @classmethod
    def parse(cls, text: str) -> Interval:
        """Parse ``90s``, ``15m``, ``2h``, ``1d``, ``1w``, ``1mo``, ``250ms``, ``1h30m`` or plain seconds
        ``0.5``, and the output of :meth:`to_text`.

        Days and weeks become days, months become months. A fraction of a day becomes elapsed time, as in
        PostgreSQL; a fraction of a month is rejected.

        Raises InvalidTask, naming the text and the rule, for anything else or beyond PostgreSQL's range.
        """
        words = text.strip().lower()
        if not words or len(words) > _MAX_TEXT:
            raise _refused(text, _RULE)
        if _NUMBER.fullmatch(words):
            words += "s"
        months, days, microseconds = 0, 0, Decimal(0)
        position = 0
        while position < len(words):
            part = _PART.match(words, position)
            if part is None:
                raise _refused(text, _RULE)
            position = part.end()
            amount, unit = Decimal(part[1]), _OWN_WORDS.get(part[2], part[2])
            if unit == "mo":
                if amount != int(amount):
                    raise _refused(text, "must be in whole months")
                months += int(amount)
            elif unit in _DAYS:
                whole = int(amount * _DAYS[unit])
                days += whole
                microseconds += (amount * _DAYS[unit] - whole) * _DAY
            else:
                microseconds += amount * _MICROSECONDS[unit]
        elapsed = int(microseconds.to_integral_value(ROUND_HALF_EVEN))
        if months >= 2**31 or days >= 2**31 or elapsed >= 2**63:
            raise _refused(text, "is beyond the range of a PostgreSQL interval")
        return cls(months, days, elapsed)

    @property
    def seconds(self) -> float:
        """The length in seconds by the rule of PostgreSQL's ``extract(epoch from interval)``.

        A day is 86,400 seconds, a month 30 days, twelve months 365.25 days.
        """
        years, months = divmod(abs(self.months), 12)
        days = years * 365.25 + months * 30
        return (days if self.months >= 0 else -days) * 86_400 + self.days * 86_400 + self.microseconds / _SECOND

    def to_text(self) -> str:
        """Return text that PostgreSQL's interval input parses exactly, such as ``1 mons 2 days 0.5 secs``."""
        whole, fraction = divmod(abs(self.microseconds), _SECOND)
        seconds = f"{whole}.{fraction:06}".rstrip("0").rstrip(".")
        sign = "-" if self.microseconds < 0 else ""
        parts = [
            f"{self.months} mons" if self.months else "",
            f"{self.days} days" if self.days else "",
            f"{sign}{seconds} secs" if self.microseconds else "",
        ]
        return " ".join(part for part in parts if part) or "0 secs"

    def to_short_text(self) -> str:
        """Return text for people that :meth:`parse` reads: ``1h30m``, ``1d``; below 0 as :meth:`to_text`."""
        if min(self) < 0:
            return self.to_text()
        parts = [(self.months, "mo"), (self.days, "d")]
        rest = self.microseconds
        for unit, size in (("h", 3_600 * _SECOND), ("m", 60 * _SECOND), ("s", _SECOND)):
            number, rest = divmod(rest, size)
            parts.append((number, unit))
        text = "".join(f"{number}{unit}" for number, unit in parts if number)
        return text + (f"{rest / 1000:g}ms" if rest else "") or "0s"


def _refused(text: str, rule: str) -> InvalidTask:
    shown = text if len(text) <= _MAX_TEXT else text[:_MAX_TEXT] + "…"
    return InvalidTask(rule, subject=f'interval "{shown}"')
