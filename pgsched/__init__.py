"""pgsched: a job queue and scheduler that needs PostgreSQL and nothing else.

Exports are imported on first use, so that a command, or a program that only catches an error, does not pay for the
rest.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

from pgsched.domain.errors import (
    CalendarNotFound,
    ChildFailed,
    ConfigError,
    CopiedDatabase,
    DatabaseUnavailable,
    Discard,
    DurableError,
    ErrorNotFound,
    EventTimeout,
    Finished,
    HandlerFailed,
    InvalidCron,
    InvalidLock,
    InvalidTask,
    InvalidTimezone,
    InvalidValue,
    KeyStayed,
    KeyTaken,
    LifespanFailed,
    LockLost,
    LockNotAcquired,
    PayloadMismatch,
    PgschedError,
    RegistrationError,
    ResultMismatch,
    Retry,
    SchemaLocked,
    SchemaMismatch,
    Snooze,
    StepFailed,
    Suspended,
    TaskFailed,
    TaskNotFound,
    TenantMoved,
    TenantMoving,
    TransitionRefused,
    UnfitDatabase,
    UnknownTaskType,
    ViewNotFound,
    WorkerNotFound,
)

if TYPE_CHECKING:
    from pgsched.app.app import App
    from pgsched.app.router import Router
    from pgsched.client.async_client import AsyncClient
    from pgsched.client.async_shards import AsyncShardedClient
    from pgsched.client.client import Client
    from pgsched.client.shards import ShardedClient
    from pgsched.domain.events import Event
    from pgsched.domain.interval import Interval
    from pgsched.domain.records import Execution, Task
    from pgsched.domain.scheduling.preview import preview
    from pgsched.domain.task_spec import TaskSpec
    from pgsched.domain.unique import Unique
    from pgsched.execution.batches import Item
    from pgsched.execution.context import Context
    from pgsched.execution.durable_context import DurableContext, PlainDurableContext
    from pgsched.execution.middleware import CallNext

__version__ = "0.1.0"

__all__ = [
    "App",
    "AsyncClient",
    "AsyncShardedClient",
    "CalendarNotFound",
    "CallNext",
    "ChildFailed",
    "Client",
    "ConfigError",
    "Context",
    "CopiedDatabase",
    "DatabaseUnavailable",
    "Discard",
    "DurableContext",
    "DurableError",
    "ErrorNotFound",
    "Event",
    "EventTimeout",
    "Execution",
    "Finished",
    "HandlerFailed",
    "Interval",
    "InvalidCron",
    "InvalidLock",
    "InvalidTask",
    "InvalidTimezone",
    "InvalidValue",
    "Item",
    "KeyStayed",
    "KeyTaken",
    "LifespanFailed",
    "LockLost",
    "LockNotAcquired",
    "PayloadMismatch",
    "PgschedError",
    "PlainDurableContext",
    "RegistrationError",
    "ResultMismatch",
    "Retry",
    "Router",
    "SchemaLocked",
    "SchemaMismatch",
    "ShardedClient",
    "Snooze",
    "StepFailed",
    "Suspended",
    "Task",
    "TaskFailed",
    "TaskNotFound",
    "TaskSpec",
    "TenantMoved",
    "TenantMoving",
    "TransitionRefused",
    "UnfitDatabase",
    "Unique",
    "UnknownTaskType",
    "ViewNotFound",
    "WorkerNotFound",
    "preview",
]

_HOMES = {
    "App": "app",
    "AsyncClient": "client.async_client",
    "AsyncShardedClient": "client.async_shards",
    "CallNext": "execution.middleware",
    "Client": "client",
    "Context": "execution.context",
    "DurableContext": "execution.durable_context",
    "Event": "domain.events",
    "Execution": "domain.records",
    "Interval": "domain.interval",
    "Item": "execution.batches",
    "PlainDurableContext": "execution.durable_context",
    "Router": "app.router",
    "ShardedClient": "client.shards",
    "Task": "domain.records",
    "TaskSpec": "domain.task_spec",
    "Unique": "domain.unique",
    "preview": "domain.scheduling.preview",
}

if not TYPE_CHECKING:  # type checkers would accept any name as an attribute

    def __getattr__(name: str) -> object:
        """Import an exported name, or a module of the package, on first use."""
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
