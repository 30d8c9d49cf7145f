"""Inspects callables, looking through partials, methods and wrappers."""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import AsyncGenerator, Callable, Generator, Iterator
from types import FunctionType, MethodType
from typing import Any


def is_coroutine_function(function: Callable[..., Any]) -> bool:
    """Whether a call returns a coroutine."""
    return any(inspect.iscoroutinefunction(layer) for layer in layers(function))


def name_of(function: Callable[..., Any]) -> str:
    """Return the name by which people find a callable, as ``module.function``."""
    name = getattr(function, "__qualname__", None)
    return repr(function) if name is None else f"{function.__module__}.{name}"


def why_no_handler(function: object) -> str | None:
    """Return what a callable is if calling it would not run it, as "a class"; None if it can be a handler."""
    if inspect.isclass(function):
        return "a class"
    if not callable(function):
        return f"a {type(function).__name__}, which cannot be called"
    for layer in layers(function):
        if inspect.isasyncgenfunction(layer):
            return "an async generator function"
        if inspect.isgeneratorfunction(layer):
            return "a generator function"
        if inspect.isclass(layer):
            return "a class"
        if getattr(layer, "__globals__", None) is vars(contextlib) and _makes_generator(layer):
            return "a context manager"
    return None


def unrun(value: object) -> str | None:
    """Describe and close a generator or awaitable that a handler returned unrun; None for other values."""
    if isinstance(value, Generator | AsyncGenerator):
        return "a generator"
    if inspect.isawaitable(value):
        if inspect.iscoroutine(value):
            value.close()  # otherwise Python warns that it was never awaited
            return "a coroutine"
        return f"a {type(value).__name__} to be awaited"
    return None


def layers(function: Callable[..., Any]) -> Iterator[Any]:
    """Yield a callable and everything it is certain to call."""
    layer: Any = function
    while layer is not None:
        yield layer
        if isinstance(layer, functools.partial):
            layer = layer.func
        elif isinstance(layer, MethodType | staticmethod):
            layer = layer.__func__
        elif isinstance(layer, FunctionType) or inspect.isclass(layer):
            return
        elif isinstance(call := getattr(layer, "__call__", None), FunctionType | MethodType | functools.partial):  # noqa: B004
            layer = call
        else:
            layer = getattr(layer, "__wrapped__", None)  # as lru_cache's


def _makes_generator(wrapper: object) -> bool:
    wrapped = inspect.unwrap(wrapper)  # type: ignore[arg-type]
    return inspect.isgeneratorfunction(wrapped) or inspect.isasyncgenfunction(wrapped)
