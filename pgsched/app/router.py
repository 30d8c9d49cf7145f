"""Handlers and hooks of one part of a program, which an application includes."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, Unpack, cast

from pgsched.app.task_handle import Registering, TaskHandle
from pgsched.domain.errors import RegistrationError
from pgsched.domain.events import Hook, Hooks
from pgsched.domain.task_spec import TaskOptions, TaskSpec
from pgsched.domain.validation import Duration
from pgsched.execution.batches import batch_rule
from pgsched.execution.failure_rules import Delay, Types, failure_rules
from pgsched.execution.middleware import Middleware, check_middleware
from pgsched.execution.registry import Registry
from pgsched.execution.state import Lifespan
from pgsched.execution.surroundings import Surroundings, as_lifespan

if TYPE_CHECKING:
    from pgsched.app.app import App

P = ParamSpec("P")
R = TypeVar("R")
Around = TypeVar("Around", bound=Middleware)
Opens = TypeVar("Opens", bound=Callable[[], AbstractAsyncContextManager[Any] | AsyncIterator[Any]])


class Router:
    """Collects the handlers and hooks of a module, for an :class:`App` to :meth:`include`.

    It has the decorators of an App, and no database: its handlers are scheduled through the app that includes it.
    ``version`` is for pgsched itself.
    """

    def __init__(self, *, version: str | None = None) -> None:
        self.registry = Registry(version=version)
        self.hooks = Hooks()
        self._lifespans: list[Lifespan] = []
        self._middleware: list[Middleware] = []
        self._adopted: list[Router] = []
        self._included: list[Router] = []
        self._included_in: Router | None = None

    def task(
        self,
        task_type: str,
        *,
        executor: str = "auto",
        memory_limit: int | str | None = None,
        transactional: bool = False,
        durable: bool = False,
        strict: bool = False,
        retry_on: Types | None = None,
        discard_on: Types = (),
        backoff_on: Mapping[type[BaseException], Delay] | None = None,
        max_snoozes: int | None = None,
        batch: int | None = None,
        wait: Duration | None = None,
        cost: int | None = None,
        **options: Unpack[TaskOptions],
    ) -> Registering:
        """Register the decorated function as the handler of ``task_type``, or of all that nobody else has: ``"*"``.

        ``options`` are what its tasks are scheduled with unless the caller says otherwise. With ``cron`` or
        ``every`` they declare a schedule, which workers keep in step with the table.
        ``executor="process"`` runs the function in a child process, which may be given a ``memory_limit`` (bytes, or
        text as ``"512MB"``). ``transactional`` runs it in a transaction, ``ctx.connection``, which is committed with
        the task's outcome. ``durable`` gives it a context that records its steps: a DurableContext, to a plain function
        a PlainDurableContext. ``strict`` refuses an INSERT whose payload does not fit, once a worker has registered the
        handler.

        With ``retry_on`` only exceptions of these types are tried again, and with ``discard_on`` those are not; the
        task is then dead at once, as by Discard. ``backoff_on`` maps types to the delay of the next attempt, or to a
        function that returns it for an exception. The nearest class decides; what the handler asks for by Retry,
        Discard or Snooze comes before. ``max_snoozes`` is how often in a row it may raise Snooze; 100.

        With ``batch`` the function takes a list of up to that many payloads in one call, or of :class:`Item` objects,
        and returns None, or a list with a result, or an exception, for each. The first payload of a call waits for
        others for ``wait``, 50 ms unless given. Each task keeps its lease, timeout, retries and history.

        ``cost`` is for how many starts a task counts by the rate of its queue, and of its concurrency key: 1 unless
        given; what costs more than a rate counts for all of it.

        Raises InvalidTask for an option that makes no sense, RegistrationError for a name that is taken, an unknown
        executor, a senseless limit, types that contradict each other, a transactional or durable handler that asks for
        no context, and a batch handler that takes anything but one list.
        """
        TaskSpec(task_type=task_type, **options)
        if batch is None and wait is not None:
            raise RegistrationError(f"handler {task_type!r}: wait is for batch handlers: give batch, too")
        rule = None if batch is None else batch_rule(task_type, batch, wait)
        rules = failure_rules(
            f"handler {task_type!r}",
            retry_on=retry_on,
            discard_on=discard_on,
            backoff_on=backoff_on,
            max_snoozes=max_snoozes,
        )

        def register(function: Callable[P, R]) -> TaskHandle[P, R]:
            handler = self.registry.register(
                task_type,
                function,
                options,
                executor=executor,
                memory_limit=memory_limit,
                transactional=transactional,
                durable=durable,
                strict=strict,
                failure_rules=rules,
                batch=rule,
                cost=cost,
            )
            return TaskHandle(self, handler)

        return cast("Registering", register)

    def on(self, event: str) -> Callable[[Hook], Hook]:
        """Call the decorated function (plain or ``async``) in workers, with an Event, after what ``event`` says.

        ``started``: a handler begins; ``completed``; ``failed``: the attempt failed and another follows; ``dead``: it
        failed for good. Raises RegistrationError for any other word.
        """

        def register(function: Hook) -> Hook:
            self.hooks.add(event, function)
            return function

        return register

    def lifespan(self, function: Opens) -> Opens:
        """Open what handlers share when a worker starts, and close it after its last handler has ended.

        The decorated function takes no arguments and is an async context manager, or an async generator function that
        is to be one. What it yields is found in ``ctx.state``: the values of a mapping by their names, every value by
        its type. Lifespans are opened in their order, those of included routers after those of the app. One that
        raises stops the worker. Child processes (``executor="process"``) open none. Raises RegistrationError for any
        other function.
        """
        self._lifespans.append(as_lifespan(function))
        return function

    def middleware(self, function: Around) -> Around:
        """Run the decorated ``async def around(ctx, call_next)`` around every attempt in workers.

        ``await call_next(ctx)`` runs the next one, or the handler: it returns what that returns and raises what it
        raises. What the function returns or raises is then that of the attempt. The first one added is outermost; that
        of a router is around its own handlers, within that of the app. It runs on the event loop, wherever the handler
        runs, and its time counts for the timeout. Raises RegistrationError for a function that is not async.
        """
        check_middleware(function)
        self._middleware.append(function)
        return function

    def include(self, router: Router) -> None:
        """Take over the handlers, schedules, hooks, lifespans and middleware of a router, those that follow included.

        Another app is taken over as a router. The handlers are then scheduled through this app. Raises
        RegistrationError, and takes over nothing, for a task_type or the key of a declared schedule that both have,
        and for a router that is included already.
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

    def as_app(self, task_type: str) -> App:
        """Return the app that this is (called by pgsched). Raises RegistrationError, naming the handler."""
        raise RegistrationError(
            f"handler {task_type!r} is of a router that no app has included: app.include(router) comes first"
        )

    def surroundings(self) -> Surroundings:
        """Return what a worker opens and runs around the handlers (called by pgsched)."""
        return Surroundings(lifespans=tuple(self._all_lifespans()), middleware_of=self.middleware_of)

    def adopt(self, router: Router) -> None:
        """Have the hooks and surroundings of a router whose handlers are here under another guise (called by pgsched).

        The router itself stays as it is.
        """
        self.hooks = router.hooks
        self._adopted.append(router)

    def _all_lifespans(self) -> Iterator[Lifespan]:
        yield from self._lifespans
        for router in (*self._adopted, *self._included):
            yield from router._all_lifespans()

    def middleware_of(self, task_type: str) -> tuple[Middleware, ...]:
        """Return what is run around attempts of a type, the first one outermost (called by pgsched)."""
        inner = [one.middleware_of(task_type) for one in self._adopted]
        inner += [one.middleware_of(task_type) for one in self._included if task_type in one.registry]
        return (*self._middleware, *(middleware for each in inner for middleware in each))

    def defaults_of(self, task_type: str) -> TaskOptions:
        """Return the options that tasks of a type have unless the caller says otherwise (called by pgsched)."""
        handler = self.registry.get(task_type) if task_type in self.registry else None
        return TaskOptions() if handler is None else handler.defaults

    def __str__(self) -> str:
        types = self.registry.task_types
        return f"of {', '.join(map(repr, types[:3]))}{', …' * (len(types) > 3)}" if types else "without handlers"
