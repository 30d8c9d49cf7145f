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

    It has the decorators of an App but no database: its handlers are scheduled through the app that includes it.
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
        """Register the decorated function as the handler of ``task_type``; ``"*"`` means all types without one.

        ``options`` are the defaults of its tasks. With ``cron`` or ``every`` they declare a schedule, which workers
        keep in step with the table. ``executor="process"`` runs the function in a child process, whose memory
        ``memory_limit`` can bound (bytes, or text such as ``"512MB"``). ``transactional`` runs it in a transaction,
        ``ctx.connection``, which is committed together with the task's outcome. ``durable`` gives it a context that
        records its steps: a DurableContext, or a PlainDurableContext for a plain function. ``strict`` rejects an INSERT
        whose payload does not fit, once a worker has registered the handler.

        With ``retry_on`` only exceptions of these types are retried; exceptions of the types in ``discard_on`` never
        are: the task is dead at once, as after Discard. ``backoff_on`` maps types to the delay of the next attempt, or
        to a function that returns it for an exception. The nearest class decides; a Retry, Discard or Snooze of the
        handler takes precedence. ``max_snoozes`` is how often in a row it may raise Snooze; 100.

        With ``batch`` the function takes a list of up to that many payloads in one call, or of :class:`Item` objects,
        and returns None, or a list with a result or an exception for each. The first payload of a call waits for
        others for ``wait``, 50 ms by default. Each task keeps its own lease, timeout, retries and history.

        ``cost`` is the number of starts that a task counts as in the rate of its queue and of its concurrency key, 1 by
        default; a task that costs more than a rate uses all of it.

        Raises InvalidTask for an invalid option, RegistrationError for a name that is taken, an unknown executor, an
        invalid limit, types that contradict each other, a transactional or durable handler without a context parameter,
        and a batch handler whose parameter is not a single list.
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
        """Call the decorated function (plain or ``async``) in workers, with an Event, after each such ``event``.

        ``started``: a handler starts; ``completed``; ``failed``: the attempt failed and another follows; ``dead``: it
        failed for good. Raises RegistrationError for any other word.
        """

        def register(function: Hook) -> Hook:
            self.hooks.add(event, function)
            return function

        return register

    def lifespan(self, function: Opens) -> Opens:
        """Open what handlers share when a worker starts, and close it after its last handler has ended.

        The decorated function takes no arguments and is an async context manager, or an async generator function that
        becomes one. What it yields is found in ``ctx.state``: the values of a mapping by name, every value by type.
        Lifespans are opened in order, those of included routers after those of the app. One that raises stops the
        worker. Child processes (``executor="process"``) open none. Raises RegistrationError for any other function.
        """
        self._lifespans.append(as_lifespan(function))
        return function

    def middleware(self, function: Around) -> Around:
        """Run the decorated ``async def around(ctx, call_next)`` around every attempt in workers.

        ``await call_next(ctx)`` runs the next middleware or the handler, and returns or raises what that does. What the
        function returns or raises is then the result of the attempt. The first one added is outermost; a router's is
        around its own handlers, inside that of the app. It runs on the event loop, wherever the handler runs, and its
        time counts towards the timeout. Raises RegistrationError for a function that is not async.
        """
        check_middleware(function)
        self._middleware.append(function)
        return function

    def include(self, router: Router) -> None:
        """Adopt the handlers, schedules, hooks, lifespans and middleware of a router, including later additions.

        Another app is adopted like a router. The handlers are then scheduled through this app. Raises
        RegistrationError, and adopts nothing, for a task_type or the key of a declared schedule that both have,
        and for a router that is already included.
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
        """The outermost router that includes this one; this one when none does."""
        router = self
        while router._included_in is not None:
            router = router._included_in
        return router

    def as_app(self, task_type: str) -> App:
        """Return the app (called by pgsched). Raises RegistrationError, naming the handler, without one."""
        raise RegistrationError(
            f"handler {task_type!r} is of a router that no app has included: app.include(router) comes first"
        )

    def surroundings(self) -> Surroundings:
        """Return what a worker opens and runs around the handlers (called by pgsched)."""
        return Surroundings(lifespans=tuple(self._all_lifespans()), middleware_of=self.middleware_of)

    def adopt(self, router: Router) -> None:
        """Adopt the hooks and surroundings of a router whose handlers are adopted in another form (by pgsched).

        The router itself stays as it is.
        """
        self.hooks = router.hooks
        self._adopted.append(router)

    def _all_lifespans(self) -> Iterator[Lifespan]:
        yield from self._lifespans
        for router in (*self._adopted, *self._included):
            yield from router._all_lifespans()

    def middleware_of(self, task_type: str) -> tuple[Middleware, ...]:
        """Return the middleware for attempts of a type, the first one outermost (called by pgsched)."""
        inner = [one.middleware_of(task_type) for one in self._adopted]
        inner += [one.middleware_of(task_type) for one in self._included if task_type in one.registry]
        return (*self._middleware, *(middleware for each in inner for middleware in each))

    def defaults_of(self, task_type: str) -> TaskOptions:
        """Return the default options of tasks of a type (called by pgsched)."""
        handler = self.registry.get(task_type) if task_type in self.registry else None
        return TaskOptions() if handler is None else handler.defaults

    def __str__(self) -> str:
        types = self.registry.task_types
        return f"of {', '.join(map(repr, types[:3]))}{', …' * (len(types) > 3)}" if types else "without handlers"
