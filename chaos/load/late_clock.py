"""``pgsched`` in a process whose wall clock is off by as many seconds as the file ``clock`` in its folder says.

The monotonic clock is left alone, as it is when somebody sets a machine's time. Only what Python asks is changed: the
database, and what libpq and psycopg make of its answers, know the true time.
"""

from __future__ import annotations

import datetime as module
import sys
import time
from datetime import date as _date
from datetime import datetime as _datetime
from pathlib import Path
from typing import Any, Self

_time, _time_ns = time.time, time.time_ns
_File = Path("clock")
_LOOK_SECONDS = 0.1
_looked_at, _offset = float("-inf"), 0.0


def _off() -> float:
    global _looked_at, _offset
    if (now := time.monotonic()) - _looked_at > _LOOK_SECONDS:
        _looked_at = now
        _offset = float(_File.read_text() or _offset)
    return _offset


class _Kind(type):
    """The instants that the database's driver makes in C are instants too."""

    def __instancecheck__(cls, value: object) -> bool:
        return isinstance(value, _datetime if cls.__name__ == "datetime" else _date)


class _Late(_datetime, metaclass=_Kind):
    @classmethod
    def now(cls, tz: module.tzinfo | None = None) -> Self:
        return cls.fromtimestamp(time.time(), tz)

    @classmethod
    def utcnow(cls) -> Self:
        return cls.fromtimestamp(time.time(), module.UTC).replace(tzinfo=None)

    @classmethod
    def today(cls) -> Self:
        return cls.now()


class _LateDate(_date, metaclass=_Kind):
    @classmethod
    def today(cls) -> Self:
        return cls.fromtimestamp(time.time())


def _shift() -> None:
    """Before anything else is imported, so that ``from datetime import datetime`` gets ours."""
    patched: Any = module
    for late, name in ((_Late, "datetime"), (_LateDate, "date")):
        late.__module__, late.__name__, late.__qualname__ = "datetime", name, name
        setattr(patched, name, late)
    time.time = lambda: _time() + _off()
    time.time_ns = lambda: _time_ns() + int(_off() * 1e9)
    real_gmtime, real_localtime = time.gmtime, time.localtime
    clock: Any = time
    clock.gmtime = lambda seconds=None: real_gmtime(time.time() if seconds is None else seconds)
    clock.localtime = lambda seconds=None: real_localtime(time.time() if seconds is None else seconds)


if __name__ == "__main__":
    _shift()
    from pgsched.cli import main

    sys.exit(main(sys.argv[1:]))
