"""Handlers as tests run them: in this process, and what they raise is kept."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from pgsched.execution.registry import Handler, Registry

Note = Callable[[BaseException], None]
"""Takes what a handler raised, in its own context."""


def registry_of(handlers: Iterable[Handler], note: Note) -> Registry:
    """Return a registry of these handlers, :func:`noted` each."""
    registry = Registry()
    for handler in handlers:
        registry.add(noted(handler, note))
    return registry


def noted(handler: Handler, note: Note) -> Handler:
    """Return a handler that runs in this process, whatever its executor is, and hands on what it raises."""
    if handler.batch is not None:  # one call is of many attempts: each notes what is raised for it
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
        except asyncio.CancelledError:  # a timeout, a cancel: the outcome says which
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
