"""What an application has around its handlers: lifespans and middleware."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, NamedTuple, cast

from pgsched.domain.errors import RegistrationError
from pgsched.execution.callables import name_of
from pgsched.execution.middleware import Middleware
from pgsched.execution.state import Lifespan


class Surroundings(NamedTuple):
    """What a worker opens and runs around the handlers of an application."""

    lifespans: tuple[Lifespan, ...] = ()
    """Opened in this order, closed in reverse."""
    middleware_of: Callable[[str], Sequence[Middleware]] = lambda _task_type: ()
    """Returns the middleware for attempts of a task_type, the first one outermost."""


NOTHING_AROUND = Surroundings()
"""No lifespans and no middleware."""


def as_lifespan(function: Callable[[], AbstractAsyncContextManager[Any] | AsyncIterator[Any]]) -> Lifespan:
    """Return a function as a lifespan; an async generator function becomes a context manager.

    Raises RegistrationError for one that takes arguments, and for one that cannot be an async context manager.
    """
    name = f"lifespan {name_of(function)}"
    needed = [one.name for one in inspect.signature(function).parameters.values() if one.default is one.empty]
    if needed:
        raise RegistrationError(f"{name} must take no arguments, got {needed[0]!r}")
    if inspect.isasyncgenfunction(function):
        # asynccontextmanager wraps the function, so that its name is kept.
        return asynccontextmanager(cast("Callable[[], AsyncIterator[Any]]", function))
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        kind = "a generator function" if inspect.isgeneratorfunction(function) else "a coroutine function"
        raise RegistrationError(f"{name} must be an async context manager, got {kind}")
    return cast("Lifespan", function)
