"""pgsched: a job queue and scheduler that needs PostgreSQL and nothing else."""

from pgsched.app import App
from pgsched.async_client import AsyncClient
from pgsched.client import Client
from pgsched.context import Context
from pgsched.errors import (
    ConfigError,
    DatabaseUnavailable,
    Discard,
    InvalidCron,
    InvalidTask,
    InvalidTimezone,
    PayloadMismatch,
    PgschedError,
    RegistrationError,
    Retry,
    SchemaMismatch,
    TaskNotFound,
    TransitionRefused,
)
from pgsched.interval import Interval
from pgsched.preview import preview
from pgsched.spec import TaskSpec

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncClient",
    "Client",
    "ConfigError",
    "Context",
    "DatabaseUnavailable",
    "Discard",
    "Interval",
    "InvalidCron",
    "InvalidTask",
    "InvalidTimezone",
    "PayloadMismatch",
    "PgschedError",
    "RegistrationError",
    "Retry",
    "SchemaMismatch",
    "TaskNotFound",
    "TaskSpec",
    "TransitionRefused",
    "preview",
]
