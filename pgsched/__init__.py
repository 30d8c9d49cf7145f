"""pgsched: a job queue and scheduler that needs PostgreSQL and nothing else."""

from pgsched.app import App
from pgsched.async_client import AsyncClient
from pgsched.client import Client
from pgsched.context import Context
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
from pgsched.events import Event
from pgsched.interval import Interval
from pgsched.preview import preview
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
