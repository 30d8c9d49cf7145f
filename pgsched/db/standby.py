"""What can be read on a standby: all but the unlogged tables, which exist on the primary alone and are empty here."""

from __future__ import annotations

import re
from typing import Any, Final, TypeVar

from psycopg import AsyncConnection, Connection

from pgsched.db.query import Command

T = TypeVar("T")

UNLOGGED: Final = ("workers", "turns", "watchdog")
"""Tables of pgsched that no standby has."""

_NAMED = re.compile(rf"(?<=\bfrom |\bjoin )pgsched\.({'|'.join(UNLOGGED)})\b")


def is_standby(connection: Connection[Any] | AsyncConnection[Any]) -> bool:
    """Whether the server is a standby; it tells by itself when it is no longer one. A pooler may not pass that on."""
    return connection.info.parameter_status("in_hot_standby") == "on"


def readable(connection: Connection[Any] | AsyncConnection[Any], command: Command[T]) -> Command[T]:
    """Return the command as it is; on a standby with these tables empty, and of the same columns."""
    if not is_standby(connection):
        return command
    text = _NAMED.sub(r"(select (null::pgsched.\1).* where false)", command.statement)
    return command._replace(statement=text)
