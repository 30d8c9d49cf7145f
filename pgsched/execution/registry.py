"""The registry of handlers: which function runs a task type."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

from pgsched.domain.attempt import GROUP
from pgsched.domain.errors import RegistrationError
from pgsched.domain.task_spec import TaskOptions, TaskSpec
from pgsched.execution.batches import BatchRule
from pgsched.execution.callables import name_of
from pgsched.execution.failure_rules import FailureRules
from pgsched.execution.handler import Handler, inspect_handler, placed

MAX_COST = 1_000_000
CATCH_ALL = "*"
"""Under this name a handler takes the types without a handler, except pgsched's own."""


class Registry:
    """The handlers of one application, by task_type."""

    def __init__(self, *, version: str | None = None) -> None:
        """``version``: that of the code."""
        self.version = version
        self._handlers: dict[str, Handler] = {}
        self._included_in: Registry | None = None
        self.get: Callable[[str], Handler | None] = self._handlers.get
        """Returns the handler of a task type, or None. The dictionary's own method, for speed."""

    def register(
        self,
        task_type: str,
        function: Callable[..., Any],
        options: TaskOptions | None = None,
        *,
        executor: str = "auto",
        memory_limit: int | str | None = None,
        transactional: bool = False,
        durable: bool = False,
        strict: bool = False,
        typed: bool = True,
        failure_rules: FailureRules | None = None,
        batch: BatchRule | None = None,
        cost: int | None = None,
    ) -> Handler:
        """Register ``function``, which may have other names already, under ``task_type`` and return its handler.

        Unless ``typed``, its annotations do not describe payload and result. With ``batch`` it takes many payloads.

        Raises RegistrationError if the name is taken, the signature cannot take a payload, calling it would not run it
        (a generator function, a class), or executor, memory_limit or transactional is invalid.
        """
        if task_type == CATCH_ALL and (options or strict or cost is not None):
            given = ", ".join(sorted(options)) if options else "strict" if strict else "cost"
            raise RegistrationError(
                f"a handler of {CATCH_ALL!r} takes tasks of types that it does not know: it cannot say {given} of them"
            )
        if cost is not None and (isinstance(cost, bool) or not isinstance(cost, int) or not 1 <= cost <= MAX_COST):
            raise RegistrationError(
                f"handler {task_type!r}: cost must be a whole number between 1 and {MAX_COST}, got {cost!r:.100}"
            )
        if task_type == GROUP:
            raise RegistrationError(f"task type {task_type!r} is that of groups, which need no handler")
        handler = inspect_handler(task_type, function, options or TaskOptions(), batch)
        types = handler.types if typed else None
        handler = replace(handler, strict=strict, failure_rules=failure_rules, types=types, cost=cost)
        handler = placed(handler, executor, memory_limit, transactional=transactional, durable=durable)
        self.add(handler)
        if handler.options.get("cron") is not None or handler.options.get("every") is not None:
            handler = self._declare(handler, TaskSpec(task_type=task_type, **handler.options))
        return handler

    def declare(self, spec: TaskSpec) -> Handler:
        """Declare an additional schedule of a handler, and return the handler.

        Raises PayloadMismatch, and RegistrationError if the schedule is missing, has no name or is already declared.
        """
        handler = self._handlers[spec.task_type]
        if spec.cron is None and spec.every is None:
            raise RegistrationError(f"a declared schedule of {spec.task_type!r} must have cron or every")
        if spec.name is None:
            raise RegistrationError(f"a declared schedule of {spec.task_type!r} must have a name, which tells it apart")
        handler.check(spec.payload or {})
        return self._declare(handler, spec, spec.name)

    def _declare(self, handler: Handler, spec: TaskSpec, *name: str) -> Handler:
        fixed = TaskOptions(idempotency_key=":".join(("declared", spec.task_type, *name)), created_by="code")
        spec = spec.with_defaults(fixed)
        self._outermost._refuse_declared(spec)
        handler = replace(handler, schedules=(*handler.schedules, spec))
        self.replace(handler)
        return handler

    def add(self, handler: Handler) -> None:
        """Add a handler, here and in the registries that include this one.

        Raises RegistrationError if its name is taken in one of them.
        """
        self._outermost._refuse_taken(handler)
        self._put(handler)

    def replace(self, handler: Handler) -> None:
        """Replace the handler of the same name. Raises KeyError if there is none."""
        if handler.task_type not in self._handlers:
            raise KeyError(handler.task_type)
        self._put(handler)

    def include(self, other: Registry) -> None:
        """Adopt the handlers of another registry, including later additions.

        Raises RegistrationError, and changes nothing, for a name or the key of a declared schedule that is taken.
        """
        for handler in other:
            self._outermost._refuse_taken(handler)
            for spec in handler.schedules:
                self._outermost._refuse_declared(spec)
        for handler in other:
            self._put(handler)
        other._included_in = self

    def _put(self, handler: Handler) -> None:
        registry: Registry | None = self
        while registry is not None:
            registry._handlers[handler.task_type] = handler
            if handler.task_type == CATCH_ALL:
                registry.get = registry._get_or_catch_all
            registry = registry._included_in

    def _get_or_catch_all(self, task_type: str) -> Handler | None:
        if (handler := self._handlers.get(task_type)) is not None or task_type.startswith("pgsched."):
            return handler
        return self._handlers[CATCH_ALL]

    @property
    def _outermost(self) -> Registry:
        """The registry that contains all handlers of those that it includes."""
        registry = self
        while registry._included_in is not None:
            registry = registry._included_in
        return registry

    def _refuse_taken(self, handler: Handler) -> None:
        if (other := self._handlers.get(handler.task_type)) is not None:
            raise RegistrationError(
                f"task type {handler.task_type!r} is registered already, by {name_of(other.function)}: "
                f"{name_of(handler.function)} must have another"
            )

    def _refuse_declared(self, spec: TaskSpec) -> None:
        for handler in self:
            if any(spec.idempotency_key == other.idempotency_key for other in handler.schedules):
                raise RegistrationError(
                    f"a schedule with the key {spec.idempotency_key!r} is declared already, by "
                    f"{name_of(handler.function)}"
                )

    def encode(self, task_type: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return a payload in JSON form, encoded by a handler's annotations. Raises PayloadMismatch."""
        handler = self._handlers.get(task_type)
        return payload if handler is None or handler.types is None else handler.encode(payload)

    def check(self, spec: TaskSpec) -> None:
        """Raise PayloadMismatch for a task whose payload does not fit a handler's annotations."""
        handler = self._handlers.get(spec.task_type)
        if handler is not None and handler.types is not None:
            handler.check(spec.payload or {})
            handler.types.check_text(spec.arguments().get("payload", "{}"))

    @property
    def task_types(self) -> list[str]:
        """Every registered task_type, sorted, without the catch-all."""
        return sorted(self._handlers.keys() - {CATCH_ALL})

    def __contains__(self, task_type: object) -> bool:
        return task_type in self._handlers

    def __iter__(self) -> Iterator[Handler]:
        return iter(self._handlers.values())
