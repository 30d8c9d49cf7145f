"""Handlers and hooks of one part of a program, which an application includes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, ParamSpec, TypeVar, Unpack

from pgsched.domain.errors import RegistrationError
from pgsched.domain.events import Hook, Hooks
from pgsched.domain.task_spec import TaskOptions, TaskSpec
from pgsched.execution.registry import Registry

if TYPE_CHECKING:
    from pgsched.app.app import TaskHandle

P = ParamSpec("P")
R = TypeVar("R")


class Router:
    """Collects the handlers and hooks of a module, for an :class:`App` to :meth:`include`.

    It has the decorators of an App, and no database: its handlers are scheduled through the app that includes it.
    ``version`` is for pgsched itself.
    """

    def __init__(self, *, version: str | None = None) -> None:
        self.registry = Registry(version=version)
        self.hooks = Hooks()
        self._included: list[Router] = []
        self._included_in: Router | None = None

    def task(
        self,
        task_type: str,
        *,
        executor: str = "auto",
        memory_limit: int | str | None = None,
        transactional: bool = False,
        strict: bool = False,
        **options: Unpack[TaskOptions],
    ) -> Callable[[Callable[P, R]], TaskHandle[P, R]]:
        """Register the decorated function as the handler of ``task_type``.

        ``options`` are what its tasks are scheduled with unless the caller says otherwise. With ``cron`` or
        ``every`` they declare a schedule, which workers keep in step with the table.
        ``executor="process"`` runs the function in a child process, which may be given a ``memory_limit`` (bytes, or
        text as ``"512MB"``). ``transactional`` runs it in a transaction, ``ctx.connection``, which is committed with
        the task's outcome. ``strict`` refuses an INSERT whose payload does not fit, once a worker has registered the
        handler. Raises InvalidTask for an option that makes no sense, RegistrationError for a name that is taken, an
        unknown executor or a senseless limit, and a transactional handler that asks for no context.
        """
        from pgsched.app.app import TaskHandle  # it is scheduled through an App, which is a Router

        TaskSpec(task_type=task_type, **options)

        def register(function: Callable[P, R]) -> TaskHandle[P, R]:
            handler = self.registry.register(
                task_type,
                function,
                options,
                executor=executor,
                memory_limit=memory_limit,
                transactional=transactional,
                strict=strict,
            )
            return TaskHandle(self, handler)

        return register

    def on(self, event: str) -> Callable[[Hook], Hook]:
        """Call the decorated function (plain or ``async``) in workers, with an Event, after what ``event`` says.

        ``started``: a handler begins; ``completed``; ``failed``: the attempt failed and another follows; ``dead``: it
        failed for good. Raises RegistrationError for any other word.
        """

        def register(function: Hook) -> Hook:
            self.hooks.add(event, function)
            return function

        return register

    def include(self, router: Router) -> None:
        """Take over the handlers, declared schedules and hooks of a router, or of another app, later ones too.

        Its handlers are then scheduled through this app. Raises RegistrationError, and takes over nothing, for a
        task_type or the key of a declared schedule that both have, and for a router that is included already.
        """
        if router._included_in is not None:
            where = "here" if router._included_in is self else "elsewhere"
            raise RegistrationError(f"the router {router} is included {where} already: a router is included once")
        if router is self.outermost:
            raise RegistrationError(f"the router {router} cannot be included in itself")
        self.registry.include(router.registry)
        self.hooks.include(router.hooks)
        router._included_in = self
        self._included.append(router)

    @property
    def outermost(self) -> Router:
        """The router that includes this one, and is not included itself; this one where none does."""
        router = self
        while router._included_in is not None:
            router = router._included_in
        return router

    def defaults_of(self, task_type: str) -> TaskOptions:
        """Return the options that tasks of a type have unless the caller says otherwise (called by pgsched)."""
        handler = self.registry.get(task_type)
        return TaskOptions() if handler is None else handler.defaults

    def __str__(self) -> str:
        types = self.registry.task_types
        return f"of {', '.join(map(repr, types[:3]))}{', …' * (len(types) > 3)}" if types else "without handlers"
