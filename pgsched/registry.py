"""Which function runs a task_type, and which payloads fit it."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pgsched.context import Context
from pgsched.errors import PayloadMismatch, RegistrationError
from pgsched.spec import TaskOptions


@dataclass(frozen=True, kw_only=True, slots=True)
class Handler:
    """A registered function."""

    task_type: str
    function: Callable[..., Any]
    is_async: bool
    """A coroutine function, run on the event loop; anything else runs in a thread."""
    options: TaskOptions
    """What a task of this type is scheduled with unless the caller says otherwise."""
    parameters: frozenset[str]
    """The names a payload may fill."""
    required: frozenset[str]
    open_ended: bool
    """The function takes ``**kwargs``: any key fits."""
    context_parameter: str | None

    def check(self, payload: Mapping[str, Any]) -> None:
        """Raise PayloadMismatch, naming the argument, unless the payload fits the function's signature."""
        keys = payload.keys()
        if not self.open_ended and not keys <= self.parameters:
            self._refuse(sorted(keys - self.parameters), "unexpected argument")
        if not self.required <= keys:
            self._refuse(sorted(self.required - keys), "missing argument")
        if self.context_parameter in keys:
            self._refuse(
                [str(self.context_parameter)],
                "the context is passed by pgsched, not by the payload: argument",
            )

    def _refuse(self, names: list[str], rule: str) -> None:
        shown = ", ".join(repr(name[:100]) for name in names[:10])
        raise PayloadMismatch(f"payload does not fit handler {self.task_type!r}: {rule} {shown}")


class Registry:
    """The handlers of one application, by task_type."""

    def __init__(self) -> None:
        self._handlers: dict[str, Handler] = {}

    def register(self, task_type: str, function: Callable[..., Any], options: TaskOptions | None = None) -> Handler:
        """Register ``function`` under ``task_type`` and return its handler.

        Raises RegistrationError when the name is taken or the signature cannot take a payload.
        """
        if task_type in self._handlers:
            raise RegistrationError(f"task type {task_type!r} is registered already")
        handler = _inspect(task_type, function, options or TaskOptions())
        self._handlers[task_type] = handler
        return handler

    def get(self, task_type: str) -> Handler | None:
        """Return the handler of a task_type, None when there is none."""
        return self._handlers.get(task_type)

    @property
    def task_types(self) -> list[str]:
        """Every registered task_type, sorted."""
        return sorted(self._handlers)

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())


def _inspect(task_type: str, function: Callable[..., Any], options: TaskOptions) -> Handler:
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, TypeError):  # an annotation that exists for the type checker only
        signature = inspect.signature(function)
    parameters, required = set(), set()
    open_ended = False
    context_parameter = None
    for parameter in signature.parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            open_ended = True
        elif parameter.kind in (parameter.POSITIONAL_ONLY, parameter.VAR_POSITIONAL):
            raise RegistrationError(
                f"handler {task_type!r}: parameter {parameter.name!r} is positional, a payload has names only"
            )
        elif _is_context(parameter):
            if context_parameter is not None:
                raise RegistrationError(f"handler {task_type!r} asks for the context twice")
            context_parameter = parameter.name
        else:
            parameters.add(parameter.name)
            if parameter.default is parameter.empty:
                required.add(parameter.name)
    return Handler(
        task_type=task_type,
        function=function,
        is_async=inspect.iscoroutinefunction(function)
        or inspect.iscoroutinefunction(getattr(function, "__call__", None)),  # noqa: B004
        options=options,
        parameters=frozenset(parameters),
        required=frozenset(required),
        open_ended=open_ended,
        context_parameter=context_parameter,
    )


def _is_context(parameter: inspect.Parameter) -> bool:
    annotation = parameter.annotation
    if annotation is Context or (isinstance(annotation, str) and annotation.split(".")[-1].strip("'\"") == "Context"):
        return True
    return parameter.name == "ctx" and annotation is parameter.empty
