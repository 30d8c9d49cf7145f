"""pgsched: a job queue and scheduler that needs PostgreSQL and nothing else.

What it exports is imported when it is first asked for: a command, or a program that catches an error, need not pay for
the rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pgsched.errors import (
    CalendarNotFound,
    ConfigError,
    DatabaseUnavailable,
    Discard,
    Finished,
    InvalidCron,
    InvalidLock,
    InvalidTask,
    InvalidTimezone,
    LockLost,
    LockNotAcquired,
    PayloadMismatch,
    PgschedError,
    RegistrationError,
    Retry,
    SchemaLocked,
    SchemaMismatch,
    TaskFailed,
    TaskNotFound,
    TransitionRefused,
    UnfitDatabase,
)

if TYPE_CHECKING:
    from pgsched.app import App
    from pgsched.async_client import AsyncClient
    from pgsched.client import Client
    from pgsched.context import Context
    from pgsched.events import Event
    from pgsched.interval import Interval
    from pgsched.previews import preview
    from pgsched.spec import TaskSpec

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncClient",
    "CalendarNotFound",
    "Client",
    "ConfigError",
    "Context",
    "DatabaseUnavailable",
    "Discard",
    "Event",
    "Finished",
    "Interval",
    "InvalidCron",
    "InvalidLock",
    "InvalidTask",
    "InvalidTimezone",
    "LockLost",
    "LockNotAcquired",
    "PayloadMismatch",
    "PgschedError",
    "RegistrationError",
    "Retry",
    "SchemaLocked",
    "SchemaMismatch",
    "TaskFailed",
    "TaskNotFound",
    "TaskSpec",
    "TransitionRefused",
    "UnfitDatabase",
    "preview",
]

_HOMES = {
    "App": "app",
    "AsyncClient": "async_client",
    "Client": "client",
    "Context": "context",
    "Event": "events",
    "Interval": "interval",
    "TaskSpec": "spec",
    "preview": "previews",
}

if not TYPE_CHECKING:  # type checkers would take any name for an attribute

    def __getattr__(name: str) -> object:
        """Import what is asked for: something exported, or a module of the package."""
        home = f"pgsched.{_HOMES.get(name, name)}"
        try:
            found = None if name.startswith("_") else importlib.import_module(home)
        except ModuleNotFoundError as error:
            if error.name != home:
                raise
            found = None
        if found is None:
            raise AttributeError(f"module 'pgsched' has no attribute {name!r}")
        if name in _HOMES:
            found = globals()[name] = getattr(found, name)
        return found

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
