"""A handler as the module that defines it sees it, with methods that schedule its tasks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import TYPE_CHECKING, Any, Concatenate, Generic, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from pgsched.db.external import Joined
from pgsched.domain.errors import PayloadMismatch
from pgsched.domain.scheduled import OnConflict, Scheduled, conflict_rule
from pgsched.domain.task_spec import OPTION_NAMES, TaskOptions, TaskSpec, spec_with
from pgsched.domain.unique import Unique
from pgsched.domain.validation import Duration
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.surroundings import Surroundings

if TYPE_CHECKING:
    from pgsched.app.app import App
    from pgsched.app.router import Router

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class TaskHandle(Generic[P, R]):
    """A handler as the module that defines it sees it: still the function, and a way to schedule it."""

    def __init__(self, router: Router, handler: Handler) -> None:
        self._router = router
        self.handler = handler
        functools.update_wrapper(self, handler.function)

    @property
    def app(self) -> App:
        """The app that included its router. Raises RegistrationError if none did."""
        return self._router.outermost.as_app(self.task_type)

    def surroundings(self) -> Surroundings:
        """Return the handler itself (called by pgsched)."""
        return self._router.outermost.surroundings()

    @property
    def task_type(self) -> str:
        """The type under which it is registered."""
        return self.handler.task_type

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, in this process."""
        return cast("R", self.handler.function(*args, **kwargs))

    def schedule(
        self,
        *,
        connection: Joined | None = None,
        payload: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
        unique: Unique | None = None,
        **kwargs: Any,
    ) -> Scheduled:
        """Schedule a task for this handler and return its id.

        Arguments with the name of an option (``delay=``, ``queue=``, ...) are options, all others the
        payload; ``payload=`` gives it as a whole; ``on_conflict`` and ``unique`` are those of
        :meth:`pgsched.client.Client.schedule`.
        Raises PayloadMismatch when it does not fit the function's signature, and everything that
        :meth:`pgsched.client.Client.schedule` raises.
        """
        payload, options = self._sort(connection, payload, kwargs, on_conflict, unique)
        return self.app.client().schedule(
            self.task_type, payload, connection=connection, on_conflict=on_conflict, unique=unique, **options
        )

    async def schedule_async(
        self,
        *,
        connection: Joined | None = None,
        payload: Mapping[str, Any] | None = None,
        on_conflict: OnConflict = "return",
        unique: Unique | None = None,
        **kwargs: Any,
    ) -> Scheduled:
        """Schedule a task for this handler on the event loop; see :meth:`schedule`."""
        payload, options = self._sort(connection, payload, kwargs, on_conflict, unique)
        client = self.app.async_client()
        return await client.schedule(
            self.task_type, payload, connection=connection, on_conflict=on_conflict, unique=unique, **options
        )

    def with_options(
        self,
        *,
        connection: Joined | None = None,
        on_conflict: OnConflict = "return",
        unique: Unique | None = None,
        **options: Unpack[TaskOptions],
    ) -> Prepared[P]:
        """Return an object that schedules tasks with these options, and takes the handler's own arguments.

        So type checkers check them: ``mail.with_options(delay=60).schedule(to="a@example.com")``.
        """
        return Prepared(self, connection, on_conflict, unique, options)

    @overload
    def result(self: TaskHandle[P, Coroutine[Any, Any, T]], id: int, timeout: Duration | None = None) -> T: ...

    @overload
    def result(self, id: int, timeout: Duration | None = None) -> R: ...

    def result(self, id: int, timeout: Duration | None = None) -> Any:
        """Wait until a task of this handler has completed and return its result, decoded by the return annotation.

        Raises ResultMismatch when it does not fit, and what :meth:`pgsched.client.Client.wait` raises.
        """
        return self._read(self.app.client().wait(id, timeout))

    @overload
    async def result_async(
        self: TaskHandle[P, Coroutine[Any, Any, T]], id: int, timeout: Duration | None = None
    ) -> T: ...

    @overload
    async def result_async(self, id: int, timeout: Duration | None = None) -> R: ...

    async def result_async(self, id: int, timeout: Duration | None = None) -> Any:
        """Like :meth:`result`, on the event loop."""
        return self._read(await self.app.async_client().wait(id, timeout))

    def _read(self, stored: Any) -> Any:
        types = self.handler.types
        return stored if types is None else types.decode_result(stored)

    def declare(self, payload: Mapping[str, Any] | None = None, **options: Unpack[TaskOptions]) -> None:
        """Declare a schedule of this handler: workers keep it in step with the table, like one of the decorator.

        A handler may have any number of schedules; each has its own ``name``, which identifies its row. Options that
        are left out are the handler's. Raises InvalidTask, PayloadMismatch, and RegistrationError without ``cron`` or
        ``every``, without a name, and for a name that the handler has already declared.
        """
        spec = spec_with(self.task_type, payload, options, self._router.defaults_of, self._router.registry)
        self.handler = self._router.registry.declare(spec)

    def _sort(
        self,
        connection: object,
        payload: Mapping[str, Any] | None,
        arguments: Mapping[str, Any],
        on_conflict: OnConflict,
        unique: Unique | None,
    ) -> tuple[Mapping[str, Any], TaskOptions]:
        """The payload and the options."""
        options = {name: value for name, value in arguments.items() if name in OPTION_NAMES}
        others = {name: value for name, value in arguments.items() if name not in OPTION_NAMES}
        if payload is None:
            own = {
                "connection": connection is not None,
                "on_conflict": conflict_rule(on_conflict) != "return",
                "unique": unique is not None,
            }
            taken = options.keys() | {name for name, given in own.items() if given}
            if both := sorted(taken & self.handler.parameters):
                raise PayloadMismatch(
                    f"{self.task_type!r}: {both[0]} is both an argument of the handler and an option of "
                    f"schedule: give the handler's as payload={{{both[0]!r}: ...}}"
                )
            payload = others
        elif others:
            raise PayloadMismatch(
                f"{self.task_type!r}: {', '.join(sorted(others))} must be in payload, since that is given"
            )
        self.handler.check(payload)
        return payload, cast("TaskOptions", options)


class ContextHandle(TaskHandle[Concatenate[Context, P], R], Generic[P, R]):
    """The same for type checkers, for a handler whose first parameter is its Context, which callers do not pass."""

    if TYPE_CHECKING:

        @overload
        def __call__(self, context: Context, /, *args: P.args, **kwargs: P.kwargs) -> R: ...

        @overload
        def __call__(self, **kwargs: Any) -> R: ...

        def __call__(self, *args: Any, **kwargs: Any) -> R:  # type: ignore[misc]
            """Call the function itself, in this process."""

        def with_options(  # type: ignore[override]
            self,
            *,
            connection: Joined | None = None,
            on_conflict: OnConflict = "return",
            unique: Unique | None = None,
            **options: Unpack[TaskOptions],
        ) -> Prepared[P]:
            """Return what schedules tasks of this handler with these options."""


class Registering(Protocol):
    """The decorator that ``app.task`` returns."""

    @overload
    def __call__(self, function: Callable[Concatenate[Context, P], R], /) -> ContextHandle[P, R]: ...

    @overload
    def __call__(self, function: Callable[P, R], /) -> TaskHandle[P, R]: ...


class Prepared(Generic[P]):
    """Schedules tasks of one handler with given options; its methods take the handler's own arguments."""

    def __init__(
        self,
        handle: TaskHandle[..., Any],
        connection: Joined | None,
        on_conflict: OnConflict,
        unique: Unique | None,
        options: TaskOptions,
    ) -> None:
        self._handle = handle
        self._handler = handle.handler
        self._connection = connection
        self._on_conflict = on_conflict
        self._unique = unique
        self._options = options

    def schedule(self, *args: P.args, **kwargs: P.kwargs) -> Scheduled:
        """Schedule a task with these arguments and return its id.

        Raises PayloadMismatch when they do not fit, and everything that :meth:`pgsched.client.Client.schedule` raises.
        """
        return self._handle.app.client().schedule(
            self._handler.task_type,
            self._payload(args, kwargs),
            connection=self._connection,
            on_conflict=self._on_conflict,
            unique=self._unique,
            **self._options,
        )

    async def schedule_async(self, *args: P.args, **kwargs: P.kwargs) -> Scheduled:
        """Like :meth:`schedule`, on the event loop."""
        return await self._handle.app.async_client().schedule(
            self._handler.task_type,
            self._payload(args, kwargs),
            connection=self._connection,
            on_conflict=self._on_conflict,
            unique=self._unique,
            **self._options,
        )

    def spec(self, *args: P.args, **kwargs: P.kwargs) -> TaskSpec:
        """Return the task with these arguments, for ``schedule_many``. Raises PayloadMismatch and InvalidTask."""
        payload, app = self._payload(args, kwargs), self._handle.app
        return spec_with(self._handler.task_type, payload, self._options, app.defaults_of, app.registry)

    def _payload(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
        handler = self._handler
        names = sorted(handler.parameters)
        if handler.batch is None:
            names = [name for name in inspect.signature(handler.function).parameters if name in handler.parameters]
        given = dict(zip(names, args, strict=False))
        if len(args) > len(names) or given.keys() & kwargs.keys():
            raise PayloadMismatch(f"payload does not fit handler {handler.task_type!r}: it takes {', '.join(names)}")
        payload = {**given, **kwargs}
        handler.check(payload)
        return payload
