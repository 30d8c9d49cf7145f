"""Middleware: what an application runs around attempts, whether the handler is async, plain, or in a child process.

Only handlers with middleware pay for it; the others run as if it did not exist.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import HandlerFailed, RegistrationError
from pgsched.execution.callables import is_coroutine_function, name_of
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry


class CallNext(Protocol):
    """Runs the next middleware, or the handler: ``await call_next(ctx)`` returns and raises what that does."""

    def __call__(self, context: Context, /) -> Awaitable[Any]:
        """Run it."""


Middleware = Callable[[Context, CallNext], Awaitable[Any]]


def check_middleware(function: Callable[..., Any]) -> None:
    """Raise RegistrationError for anything but a coroutine function."""
    if not is_coroutine_function(function):
        raise RegistrationError(
            f"middleware {name_of(function)} must be an async function: async def f(ctx, call_next)"
        )


def with_middleware(registry: Registry, middleware_of: Callable[[str], Sequence[Middleware]]) -> Registry:
    """Return the registry with each handler's middleware in it; the same registry when there is none."""
    around = {handler.task_type: tuple(middleware_of(handler.task_type)) for handler in registry}
    if not any(around.values()):
        return registry
    equipped = Registry(version=registry.version)
    for handler in registry:
        equipped.add(equip(handler, around[handler.task_type]))
    return equipped


def equip(handler: Handler, middleware: Sequence[Middleware]) -> Handler:
    """Return a handler with its middleware, which needs its context."""
    if not middleware:
        return handler
    return replace(handler, middleware=tuple(middleware), needs_context=True, on_loop=False)


def through(middleware: Sequence[Middleware], innermost: CallNext) -> CallNext:
    """Return what runs all, the first one outermost."""
    call = innermost
    for one in reversed(middleware):
        call = partial(_run, one, call)
    return call


def _run(middleware: Middleware, call_next: CallNext, context: Context) -> Awaitable[Any]:
    return middleware(context, call_next)


def value_of(outcome: Outcome) -> Any:
    """Return the result of a handler in a child process. Raises HandlerFailed when it did anything else."""
    if outcome.status != "completed" or outcome.ends:
        raise HandlerFailed(outcome)
    return None if outcome.result is None else json.loads(outcome.result)
