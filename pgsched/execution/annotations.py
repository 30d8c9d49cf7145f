"""The annotations of a handler, before a validator is built from them."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Mapping
from types import FunctionType, SimpleNamespace
from typing import Any

from pgsched.execution.callables import layers

_NOTHING = (inspect.Parameter.empty, Any, object, None, type(None))
"""Annotations that every value fits, and those of functions that return nothing."""
_NAMES_OF_NOTHING = ("Any", "typing.Any", "object", "None")


def says_something(annotation: object) -> bool:
    """Whether an annotation, which may be text, could reject or change a value."""
    if isinstance(annotation, str):
        return annotation not in _NAMES_OF_NOTHING
    return not any(annotation is nothing for nothing in _NOTHING)


def resolved(function: Callable[..., Any], annotations: Mapping[str, Any]) -> dict[str, Any]:
    """Return the resolved annotations, without those that exist only for type checkers."""
    names = _names(function)
    found = {}
    for name, annotation in annotations.items():
        try:
            hints = typing.get_type_hints(
                SimpleNamespace(__annotations__={name: annotation}), globalns=names, localns=names, include_extras=True
            )
        except Exception:  # noqa: BLE001, S112 - annotations may be any text, and evaluating it may raise anything
            continue
        if says_something(hints[name]):
            found[name] = hints[name]
    return found


def _names(function: Callable[..., Any]) -> dict[str, Any]:
    """The names that annotations of a function may use."""
    *_, inner = layers(function)
    inner = inspect.unwrap(inner)
    if not isinstance(inner, FunctionType):
        return {}
    cells = zip(inner.__code__.co_freevars, inner.__closure__ or (), strict=False)
    return inner.__globals__ | {name: cell.cell_contents for name, cell in cells if _is_filled(cell)}


def _is_filled(cell: Any) -> bool:
    try:
        _ = cell.cell_contents
    except ValueError:
        return False
    return True
