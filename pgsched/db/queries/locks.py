"""Commands about locks. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from pgsched.db.query import Command, Rows, changed, command, rows_as
from pgsched.domain.errors import InvalidLock, InvalidTask
from pgsched.domain.records import LockInfo
from pgsched.domain.validation import number, text_of

SHORTEST_TTL = 1
LONGEST_TTL = 86_400
"""The range of a ttl, in seconds."""
LONGEST_NAME = 200


def acquire(name: str, owner: UUID, *, ttl: float, holder: str) -> Command[int | None]:
    """Acquire a lock; returns its fencing token, None while another owner holds it."""

    def parse(rows: Rows) -> int | None:
        token = rows[0]["token"]
        return None if token is None else int(token)

    return command("acquire_lock", parse, name=name, owner=owner, ttl=ttl, holder=holder)


def renew(name: str, owner: UUID, *, ttl: float) -> Command[bool]:
    """Keep a lock for ``ttl`` seconds from now; returns whether it was still the owner's."""
    return command("renew_lock", changed, name=name, owner=owner, ttl=ttl)


def release(name: str, owner: UUID) -> Command[bool]:
    """Release a lock; returns whether it was still the owner's."""
    return command("release_lock", changed, name=name, owner=owner)


def break_lock(name: str) -> Command[bool]:
    """Break a lock, whoever holds it; returns whether anybody did."""
    return command("break_lock", changed, name=lock_name(name))


def list_locks() -> Command[list[LockInfo]]:
    """Read every lock that has not been released."""
    return command("list_locks", rows_as(LockInfo))


# Validation.

_name = text_of(LONGEST_NAME, control_characters=False)
_ttl = number(SHORTEST_TTL, LONGEST_TTL, rule=f"be between {SHORTEST_TTL} and {LONGEST_TTL} seconds")
_timeout = number(0, math.inf, rule="be seconds from 0 or None")


def lock_name(name: str) -> str:
    """Return the name of a lock, or raise InvalidLock."""
    with _of_lock(subject="lock name"):
        return str(_name("name", name))


def lock_ttl(name: str, ttl: float) -> float:
    """Return the ttl of a lock, in seconds, or raise InvalidLock."""
    with _of_lock(place=f"lock {name!r}: "):
        return float(_ttl("ttl", ttl))


def lock_timeout(name: str, timeout: float | None) -> float | None:
    """Return how long to wait for a lock, in seconds, or raise InvalidLock."""
    with _of_lock(place=f"lock {name!r}: "):
        return None if timeout is None else float(_timeout("timeout", timeout))


@contextmanager
def _of_lock(**changes: str) -> Iterator[None]:
    try:
        yield
    except InvalidTask as error:
        raise InvalidLock.of(error, **changes) from None
