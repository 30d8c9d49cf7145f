"""The setting ``PGSCHED``, and the DSN of one of ``DATABASES``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from pgsched.db.dsn import join_dsn


@dataclass(frozen=True, kw_only=True)
class ProjectSettings:
    """The value of ``PGSCHED``."""

    database: str = "default"
    """The alias of the database with the schema ``pgsched``."""
    app: str | None = None
    """``module:attribute`` of an App with handlers besides the project's tasks."""
    task_modules: tuple[str, ...] = ()
    """Modules to search for tasks besides ``tasks`` of every installed app."""
    migrate: bool = False
    """Whether ``manage.py migrate`` also migrates the schema ``pgsched``, in the test database too."""


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "DATABASE": ((str,), "text"),
    "APP": ((str,), "text"),
    "TASK_MODULES": ((list, tuple), "a list"),
    "MIGRATE": ((bool,), "True or False"),
}


def project_settings() -> ProjectSettings:
    """Read the setting. Raises ImproperlyConfigured, naming key and rule."""
    given: Any = getattr(settings, "PGSCHED", {})
    if not isinstance(given, dict):
        raise ImproperlyConfigured(f"PGSCHED must be a dictionary, got a {type(given).__name__}")
    values: dict[str, Any] = {}
    for name, value in given.items():
        if name not in _KINDS:
            raise ImproperlyConfigured(f"PGSCHED: unknown key {name!r}: the keys are {', '.join(_KINDS)}")
        kinds, words = _KINDS[name]
        if not isinstance(value, kinds):
            raise ImproperlyConfigured(f"PGSCHED: {name} must be {words}, got {value!r:.100}")
        values[name.lower()] = tuple(value) if isinstance(value, list) else value
    return ProjectSettings(**values)


def dsn_of(alias: str) -> str:
    """Return the DSN with which Django connects to one of its databases. Raises ImproperlyConfigured."""
    connection = connections[alias]
    if connection.vendor != "postgresql":
        raise ImproperlyConfigured(f"pgsched needs PostgreSQL; the database {alias!r} is one of {connection.vendor}")
    return join_dsn(connection.get_connection_params())
