"""Which context a handler asks for, and which it may have."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING

from pgsched.domain.errors import RegistrationError
from pgsched.execution.context import Context

if TYPE_CHECKING:
    from pgsched.execution.handler import Handler

DURABLE = ("DurableContext", "PlainDurableContext")


def context_class_of(parameter: inspect.Parameter) -> str | None:
    """The name of the context that a parameter is annotated with; None for any other."""
    annotation = parameter.annotation
    if isinstance(annotation, type) and issubclass(annotation, Context):
        return annotation.__name__
    name = annotation.split(".")[-1].strip("'\"") if isinstance(annotation, str) else None
    return name if name in ("Context", *DURABLE) else None


def check_durable(name: str, handler: Handler, executor: str, *, transactional: bool, durable: bool) -> None:
    """Raise RegistrationError for a context that does not fit the handler, and for what a durable one cannot be."""
    wanted = "DurableContext" if handler.is_async else "PlainDurableContext"
    if not durable:
        if handler.context_class in DURABLE:
            raise RegistrationError(f"{name} asks for a {handler.context_class} and is not durable: add durable=True")
        return
    if transactional or executor == "process" or handler.batch is not None:
        what = "transactional" if transactional else "batch" if handler.batch is not None else 'executor="process"'
        raise RegistrationError(f"{name}: durable excludes {what}; a step of it may be transactional")
    if handler.context_parameter is None:
        raise RegistrationError(f"{name} is durable and takes no context: add a parameter annotated {wanted}")
    if handler.context_class not in (wanted, "Context", None):
        kind = "an async" if handler.is_async else "a plain"
        raise RegistrationError(f"{name} is {kind} function: its context is a {wanted}, not a {handler.context_class}")
