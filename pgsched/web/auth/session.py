"""The session cookie: an id, a role, a name and an expiry, signed with a key derived from the secret of the login.

Changing a token ends all sessions of its role at once, changing the client secret all those of the identity provider;
neither secret is ever sent to the browser. Only revoked sessions are stored (:mod:`pgsched.web.services.revocations`).
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Any, Final

from pgsched.web.auth.sealing import key_of, seal, unseal
from pgsched.web.settings import WebSettings

COOKIE: Final = "pgsched_session"
SECONDS: Final = 12 * 3600
"""Lifetime of a session."""
MAX_NAME: Final = 100
OPERATOR_KEY, VIEWER_KEY, OIDC_KEY = "operator", "viewer", "oidc"


@dataclass(frozen=True, kw_only=True)
class Session:
    """The content of a cookie."""

    id: str
    """Random: identifies a revoked session."""
    role: str
    name: str | None
    ends_at: int
    """In seconds of the Unix time."""
    by: str
    """The secret whose key signs the cookie: the token of its role, or ``oidc``."""

    @property
    def end(self) -> datetime:
        """The expiry."""
        return datetime.fromtimestamp(self.ends_at, UTC)


def begin_session(role: str, name: str | None, *, by: str, now: float | None = None) -> Session:
    """Return a new session."""
    ends_at = int((time.time() if now is None else now) + SECONDS)
    return Session(id=secrets.token_urlsafe(24), role=role, name=name, ends_at=ends_at, by=by)


def seal_session(settings: WebSettings, session: Session) -> str:
    """Return the cookie of a session."""
    return seal(_keys(settings)[session.by], asdict(session))


def open_session(settings: WebSettings, cookie: str | None, *, now: float | None = None) -> Session | None:
    """Return the content of a cookie; None when there is none, it is not ours, or it has expired."""
    for by, key in _keys(settings).items():
        said = unseal(key, cookie)
        if said is None:
            continue
        session = _read(said)
        if session is None or session.by != by or (by != OIDC_KEY and session.role != by):
            return None
        return session if session.ends_at > (time.time() if now is None else now) else None
    return None


def _read(said: Mapping[str, Any]) -> Session | None:
    try:
        return Session(**said)
    except TypeError:  # Written by another version of this program.
        return None


def _keys(settings: WebSettings) -> dict[str, bytes]:
    secrets_of = {OPERATOR_KEY: settings.operator_token, VIEWER_KEY: settings.viewer_token}
    if settings.oidc is not None:
        secrets_of[OIDC_KEY] = settings.oidc.client_secret
    return {by: key_of(f"session of {by}", secret) for by, secret in secrets_of.items() if secret is not None}
