"""Versions of small settings objects, computed from all their fields: each edit gives a new one."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any, Final

from pgsched.domain.errors import VersionConflict

LENGTH: Final = 16
"""Hexadecimal digits, as in pgsched.version_of for tasks."""


def version_of(values: Mapping[str, Any]) -> str:
    """Return the version of an object with these JSON-able values."""
    text = json.dumps(values, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:LENGTH]


def check_version(what: str, version: str | None, expected: tuple[str, ...] | None) -> None:
    """Raise VersionConflict unless the version is one of the expected ones; any version passes when none is given."""
    if expected is not None and version not in expected:
        raise VersionConflict(what, version=version, expected=" or ".join(expected) or "none")
