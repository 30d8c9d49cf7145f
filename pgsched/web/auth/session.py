"""The cookie of people who logged in: a role, a name and an end, signed with a key made of that role's token.

Nothing is stored: another token ends all sessions of its role at once, and the token itself is never sent back.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import time
from dataclasses import dataclass

from pgsched.web.settings import WebSettings

COOKIE = "pgsched_session"
SECONDS = 12 * 3600
"""How long a session lasts."""
MAX_NAME = 100


@dataclass(frozen=True, kw_only=True)
class Session:
    """What a cookie says."""

    role: str
    name: str | None
    ends_at: int
    """In seconds of the Unix time."""


def seal_session(settings: WebSettings, role: str, name: str | None, *, now: float | None = None) -> str:
    """Return the cookie of a role whose token is set."""
    ends_at = int((time.time() if now is None else now) + SECONDS)
    said = json.dumps({"role": role, "name": name, "ends_at": ends_at}).encode()
    body = base64.urlsafe_b64encode(said).decode()
    return f"{body}.{_signature(_token(settings, role) or '', body)}"


def open_session(settings: WebSettings, cookie: str | None, *, now: float | None = None) -> Session | None:
    """Return what a cookie says; None when there is none, it is not ours, or it has ended."""
    body, _, signature = (cookie or "").partition(".")
    for role in ("operator", "viewer"):
        token = _token(settings, role)
        if token is None or not hmac.compare_digest(_signature(token, body).encode(), signature.encode()):
            continue
        try:
            session = Session(**json.loads(base64.urlsafe_b64decode(body)))
        except (ValueError, TypeError, binascii.Error):
            return None
        alive = session.ends_at > (time.time() if now is None else now)
        return session if alive and session.role == role else None
    return None


def _token(settings: WebSettings, role: str) -> str | None:
    return settings.operator_token if role == "operator" else settings.viewer_token


def _signature(token: str, body: str) -> str:
    key = hashlib.sha256(b"pgsched session " + token.encode()).digest()
    return hmac.new(key, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
