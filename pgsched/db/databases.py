"""The names and DSNs of several databases."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from pgsched.db.dsn import database_of, is_keyword
from pgsched.domain.errors import ConfigError

MAX_NAME: Final = 40
RESERVED: Final = frozenset({"api", "static", "login", "logout", "healthz", "readyz", "metrics"})
"""Names that are paths of the site itself."""
_NAME: Final = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def check_name(name: str) -> None:
    """Raise ConfigError for a name that cannot be part of a path."""
    if not re.fullmatch(_NAME, name) or len(name) > MAX_NAME:
        rule = f"must have 1 to {MAX_NAME} letters, digits and . _ -, the first a letter or digit"
        raise ConfigError(rule, field="the name of a database", value=name)
    if name in RESERVED:
        rule = f"must not be one of {', '.join(sorted(RESERVED))}"
        raise ConfigError(rule, field="the name of a database", value=name)


def read_databases(given: Sequence[str]) -> dict[str, str]:
    """Return the DSNs by name; each is written as ``NAME=DSN``, or is a DSN that is named after its database.

    Raises ConfigError for a name that cannot be part of a path, that is used twice, or that is missing.
    """
    found: dict[str, str] = {}
    for text in given:
        name, mark, dsn = text.partition("=")
        if not mark or not re.fullmatch(_NAME, name) or is_keyword(name):
            name, dsn = database_of(text) or "", text
            if not name:
                raise ConfigError("one of several --dsn names no database: give it a name, as NAME=DSN")
        check_name(name)
        if name in found:
            raise ConfigError(f"two --dsn have the name {name}: give them different names, as NAME=DSN")
        found[name] = dsn
    return found
