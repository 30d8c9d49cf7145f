"""Handlers that come with pgsched: HTTP requests, SQL statements, commands."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgsched.builtin.settings import NAMES, Builtins
from pgsched.execution.registry import Registry

__all__ = ["with_builtins"]


def with_builtins(registry: Registry, settings: Builtins) -> Registry:
    """Return the application's handlers plus the built-in ones, except for task types that the former define."""
    both = Registry(version=registry.version)
    for handler in registry:
        both.add(handler)
    if settings.serves_http:
        from pgsched.builtin.http import Http

        _serve(both, "http", Http(settings.destinations).handle)
    if settings.allow_sql:
        from pgsched.builtin import sql

        _serve(both, "sql", sql.handle, transactional=True)
    if settings.allow_shell:
        from pgsched.builtin.shell import Shell

        _serve(both, "shell", Shell(settings.allow_shell).handle)
    return both


def _serve(registry: Registry, name: str, function: Callable[..., Any], **options: Any) -> None:
    """Register a handler. It validates its payload itself, with its own messages; no worker needs pydantic for it."""
    for task_type in NAMES[name]:
        if registry.get(task_type) is None:
            registry.register(task_type, function, typed=False, **options)
