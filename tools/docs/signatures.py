"""Signatures for display, with types as written in the source."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any


def signature_of(thing: Any, name: str) -> str:
    """The call of a function or a class; only its name if there is no signature."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return name
    if inspect.isclass(thing):
        signature = signature.replace(return_annotation=inspect.Signature.empty)
    return ("async " if inspect.iscoroutinefunction(thing) else "") + name + shown_signature(signature)


def method_signature(name: str, member: Any, function: Callable[..., Any]) -> str:
    """The call of a method: without ``self``, and with ``with`` for a context manager."""
    signature = inspect.signature(function)
    if not isinstance(member, staticmethod):
        signature = signature.replace(parameters=list(signature.parameters.values())[1:])
    wrapped = inspect.unwrap(function)
    word = "async " if inspect.iscoroutinefunction(wrapped) else ""
    is_generator, is_async = inspect.isgeneratorfunction(wrapped), inspect.isasyncgenfunction(wrapped)
    if wrapped is function or not (is_generator or is_async):
        return f"{word}{name}{shown_signature(signature)}"
    # Decorated by contextlib: it is called in a `with` statement, which binds the yielded value.
    shown = re.sub(r" -> (?:Async)?Iterator\[(.+)\]$", r" -> \1", shown_signature(signature))
    return f"{'async with' if is_async else 'with'} {name}{shown}"


def shown_signature(signature: inspect.Signature) -> str:
    """A signature with its types as they are written in the source."""
    parameters = [
        one.replace(annotation=_Raw(type_of(one.annotation)) if one.annotation is not one.empty else one.empty)
        for one in signature.parameters.values()
    ]
    returns = signature.return_annotation
    text = str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
    text = re.sub(r"<(?:function|class) '?(?:\w+\.)*(\w+)'?(?: at 0x[0-9a-f]+)?>", r"\1", text)
    return text if returns is inspect.Signature.empty else f"{text} -> {type_of(returns)}"


class _Raw:
    """An annotation that is displayed verbatim."""

    def __init__(self, text: str) -> None:
        self._text = text

    def __repr__(self) -> str:
        return self._text


def type_of(annotation: Any) -> str:
    """A type without the module names of its parts."""
    if not isinstance(annotation, str):
        annotation = inspect.formatannotation(annotation)
    plain = re.sub(r"ForwardRef\('([^']+)'(?:, module='[^']+')?\)", r"\1", annotation)
    return re.sub(r"\b(?:[a-z_]\w*\.)+(?=[A-Za-z])", "", plain)


def returned_type(function: Callable[..., Any]) -> str:
    """The declared return type of a function."""
    returns = inspect.signature(function).return_annotation
    return "" if returns is inspect.Signature.empty else type_of(returns)
