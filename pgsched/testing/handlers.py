"""Handlers for tests: they run in this process, and their exceptions are kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pgsched.execution.handler import Handler
from pgsched.execution.registry import Registry

Note = Callable[[BaseException], None]
"""Receives a handler's exception, in the handler's context."""


def registry_of(handlers: Iterable[Handler], note: Note) -> Registry:
    """Return a registry of these handlers, each wrapped by :func:`noted`."""
    registry = Registry()
    for handler in handlers:
        registry.add(noted(handler, note))
    return registry


def noted(handler: Handler, note: Note) -> Handler:
    """Return a handler that runs in this process, whatever its executor is, and passes its exceptions on."""
    if handler.batch is not None:  # one call serves many attempts: each records its own exception
        return replace(handler, batch=replace(handler.batch, on_raised=note))
    function = handler.function

    def plain(**arguments: Any) -> Any:
        try:
            return function(**arguments)
        except BaseException as error:
            note(error)
            raise

    async def on_loop(**arguments: Any) -> Any:
        try:
            return await function(**arguments)
        except asyncio.CancelledError:  # a timeout or a cancellation: the outcome shows which
            raise
        except BaseException as error:
            note(error)
            raise

    return replace(
        handler,
        function=on_loop if handler.is_async else plain,
        executor="auto",
        memory_limit=None,
        on_loop=handler.is_async,
        needs_context=handler.context_parameter is not None,
    )
