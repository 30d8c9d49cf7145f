"""The web server's commands about ended sessions. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple

from pgsched.db.query import Command, command


class RevokedSession(NamedTuple):
    """A session that was logged out before it expired."""

    id: str
    ends_at: datetime
    revoked_at: datetime


def revoke_session(id: str, ends_at: datetime) -> Command[None]:
    """End a session."""
    return command("revoke_session", lambda _rows: None, id=id, ends_at=ends_at)


def list_revoked_sessions(since: datetime) -> Command[list[RevokedSession]]:
    """Read the sessions ended since a moment."""
    return command("list_revoked_sessions", lambda rows: [RevokedSession(**row) for row in rows], since=since)
