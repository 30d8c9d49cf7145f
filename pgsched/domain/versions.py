"""Versions of settings that a few fields say all about: another one after each edit."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from pgsched.domain.errors import VersionConflict

LENGTH: Final = 16
"""Hexadecimal digits, as pgsched.version_of has them for tasks."""


def version_of(values: Mapping[str, Any]) -> str:
    """Return the version of an object that is these values, which are JSON-able."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def check_version(what: str, version: str | None, expected: tuple[str, ...] | None) -> None:
    """Raise VersionConflict unless the version is one of the expected ones; without any each will do."""
    if expected is not None and version not in expected:
        raise VersionConflict(what, version=version, expected=" or ".join(expected) or "none")
