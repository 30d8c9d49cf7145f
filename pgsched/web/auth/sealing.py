"""Signed values that a browser stores and returns unchanged: JSON with a signature."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import Any


def key_of(purpose: str, *secrets: str) -> bytes:
    """Return the key for one purpose, derived from secrets."""
    made = hashlib.sha256(f"pgsched {purpose}".encode())
    for secret in secrets:
        made.update(b"\0" + hashlib.sha256(secret.encode()).digest())
    return made.digest()


def seal(key: bytes, said: Mapping[str, Any]) -> str:
    """Return the data, signed, in a form that fits into a cookie."""
    body = base64.urlsafe_b64encode(json.dumps(said).encode()).decode()
    return f"{body}.{_signature(key, body)}"


def unseal(key: bytes, sealed: str | None) -> dict[str, Any] | None:
    """Return the data that was sealed with this key; None for anything else."""
    body, _, signature = (sealed or "").partition(".")
    if not hmac.compare_digest(_signature(key, body).encode(), signature.encode("utf-8", "replace")):
        return None
    try:
        said = json.loads(base64.urlsafe_b64decode(body))
    except (ValueError, binascii.Error):
        return None
    return said if isinstance(said, dict) else None


def _signature(key: bytes, body: str) -> str:
    return hmac.new(key, body.encode("utf-8", "replace"), hashlib.sha256).hexdigest()
