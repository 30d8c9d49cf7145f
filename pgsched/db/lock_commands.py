"""What a client asks of the database about locks. Pure, as :mod:`pgsched.db.commands`."""

from __future__ import annotations

import math
import re
from uuid import UUID

from pgsched.db.commands import Command, Rows
from pgsched.db.sql_files import load_statement
from pgsched.domain.errors import InvalidLock
from pgsched.domain.records import LockInfo, read

SHORTEST_TTL = 1
LONGEST_TTL = 86_400
"""Seconds between which a ttl must be."""
LONGEST_NAME = 200

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


def acquire(name: str, owner: UUID, *, ttl: float, holder: str) -> Command[int | None]:
    """Take a lock; its fencing token, None while another owner has it."""

    def parse(rows: Rows) -> int | None:
        token = rows[0]["token"]
        return None if token is None else int(token)

    params = {"name": name, "owner": owner, "ttl": ttl, "holder": holder}
    return Command(load_statement("acquire_lock"), params, parse)


def renew(name: str, owner: UUID, *, ttl: float) -> Command[bool]:
    """Keep a lock for ``ttl`` seconds from now; whether it was still the owner's."""
    return Command(load_statement("renew_lock"), {"name": name, "owner": owner, "ttl": ttl}, _changed)


def release(name: str, owner: UUID) -> Command[bool]:
    """Give a lock back; whether it was still the owner's."""
    return Command(load_statement("release_lock"), {"name": name, "owner": owner}, _changed)


def break_lock(name: str) -> Command[bool]:
    """Take a lock away from whoever has it; whether anybody had."""
    return Command(load_statement("break_lock"), {"name": lock_name(name)}, _changed)


def list_locks() -> Command[list[LockInfo]]:
    """Read every lock that was not given back."""
    return Command(load_statement("list_locks"), {}, lambda rows: [read(LockInfo, row) for row in rows])


def _changed(rows: Rows) -> bool:
    return bool(rows[0]["changed"])


# What may be asked.


def lock_name(name: str) -> str:
    """Return the name of a lock, or raise InvalidLock."""
    if not isinstance(name, str):
        raise InvalidLock(f"lock name must be text, got {name!r}")
    if not 1 <= len(name) <= LONGEST_NAME:
        raise InvalidLock(f"lock name must have 1 to {LONGEST_NAME} characters, got {len(name)}")
    if _CONTROL.search(name):
        raise InvalidLock(f"lock name must not contain control characters, got {name!r}")
    return name


def lock_ttl(name: str, ttl: float) -> float:
    """Return how long a lock is good for, in seconds, or raise InvalidLock."""
    if not _is_number(ttl) or not SHORTEST_TTL <= ttl <= LONGEST_TTL:
        raise InvalidLock(f"lock {name!r}: ttl must be between {SHORTEST_TTL} and {LONGEST_TTL} seconds, got {ttl!r}")
    return float(ttl)


def lock_timeout(name: str, timeout: float | None) -> float | None:
    """Return how long to wait for a lock, in seconds, or raise InvalidLock."""
    if timeout is not None and (not _is_number(timeout) or timeout < 0):
        raise InvalidLock(f"lock {name!r}: timeout must be seconds from 0 or None, got {timeout!r}")
    return timeout


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and not math.isnan(value)
