"""The contexts of durable handlers: they record steps, wait, and repeat nothing that was recorded."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextvars
import inspect
import json
import random as random_module
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, ParamSpec, TypeVar, Unpack, overload
from uuid import UUID

from pgsched.concurrency.thread_pool import in_thread
from pgsched.domain.errors import DurableError, NotTransactional, Suspended
from pgsched.domain.task_spec import TaskOptions
from pgsched.domain.validation import Duration
from pgsched.execution import durable_steps as steps
from pgsched.execution.callables import is_coroutine_function
from pgsched.execution.checkpoints import StepTransaction
from pgsched.execution.context import Context
from pgsched.execution.durable_run import INSIDE, DurableRun
from pgsched.execution.handler import Handler

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

_CONNECTION: contextvars.ContextVar[Any] = contextvars.ContextVar("pgsched step connection", default=None)


class DurableBase(Context):
    """What the contexts of both kinds of durable handlers share."""

    __slots__ = ("_counted", "_patches", "_run")

    def enter(self, run: DurableRun, handler: Handler) -> Handler:
        """Set the run that the attempt belongs to, and return the handler within it (called by the worker)."""
        self._run = run
        self._counted: dict[str, int] = {}
        self._patches: dict[str, bool] = {}
        return run.bind(handler, self.call)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the worker's event loop from the thread of a plain handler."""
        raise NotImplementedError

    @property
    def suspending(self) -> bool:
        """Whether the handler ends because its run is suspended, when ``finally`` must not undo anything."""
        return self._run.suspension is not None

    @property
    def began_at(self) -> datetime:
        """When the run started, in UTC; with the id it identifies the run."""
        return self._run.id.began_at

    @property
    def connection(self) -> Any:
        """The connection of the transactional step that the calling code belongs to. Raises NotTransactional."""
        connection = _CONNECTION.get()
        if connection is None:
            raise NotTransactional(
                f"handler {self.task_type!r} is durable: ctx.connection is there within a step with transactional=True"
            )
        return connection

    def now(self, name: str | None = None) -> datetime:
        """Return the database's time of the first call, in UTC: the same whenever the run resumes.

        Recorded with the next step. Values are distinguished by their order, or by ``name``.
        """
        text = self._value("now", name, lambda: self._run.now().isoformat())
        return datetime.fromisoformat(text)

    def random(self, name: str | None = None) -> float:
        """Return a random number in [0, 1): the same whenever the run resumes. See :meth:`now`."""
        return float(self._value("random", name, random_module.SystemRandom().random))

    def uuid(self, name: str | None = None) -> UUID:
        """Return a random UUID (version 4): the same whenever the run resumes. See :meth:`now`."""
        made = random_module.SystemRandom().getrandbits(128)
        return UUID(self._value("uuid", name, lambda: str(UUID(int=made, version=4))))

    def patched(self, name: str) -> bool:
        """Whether the run takes the new path that was added to the code under ``name``.

        True for runs that reach this point for the first time with the new code; False for runs that were already past
        it.
        """
        run, known = self._run, self._patches.get(name)
        if known is None:
            known = self._patches[name] = run.knows(name) or not run.replaying
            if known and run.ask(name, "", "patch") is None:
                run.record_later(run.record_of((name, ""), "completed"))
        return known

    def restart_with(self, payload: Mapping[str, Any] | None = None) -> NoReturn:
        """End this run, and start another one with ``payload`` and no records. Does not return.

        Without a payload it has the task's. The task keeps its id, its key and its mailbox. Raises
        PayloadMismatch for a payload that does not fit, and DurableError for a payload of a schedule.
        """
        self._run.restart_with(payload)

    def _value(self, kind: str, name: str | None, make: Callable[[], Any]) -> Any:
        if name is None:
            number = self._counted[kind] = self._counted.get(kind, 0) + 1
            name = f"{kind} {number}"
        run = self._run
        step = run.ask(name, "", "value")
        if step is not None and step.status == "completed":
            return steps.value_of(step.result)
        value = make()
        run.record_later(run.record_of((name, ""), "completed", result=json.dumps(value)))
        return value


class DurableContext(DurableBase):
    """The context of an ``async`` durable handler (``@app.task(…, durable=True)``)."""

    __slots__ = ()

    @overload
    async def step(
        self,
        name: str,
        function: Callable[..., Coroutine[Any, Any, R]],
        *args: Any,
        key: str = "",
        transactional: bool = False,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: str | None = None,
        backoff_delay: Duration | None = None,
        backoff_max: Duration | None = None,
    ) -> R: ...

    @overload
    async def step(
        self,
        name: str,
        function: Callable[..., R],
        *args: Any,
        key: str = "",
        transactional: bool = False,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: str | None = None,
        backoff_delay: Duration | None = None,
        backoff_max: Duration | None = None,
    ) -> R: ...

    async def step(
        self,
        name: str,
        function: Callable[..., Any],
        *args: Any,
        key: str = "",
        transactional: bool = False,
        timeout: float | None = None,
        max_attempts: int | None = None,
        backoff: str | None = None,
        backoff_delay: Duration | None = None,
        backoff_max: Duration | None = None,
    ) -> Any:
        """Call a function once, and return its result, now and whenever the run resumes.

        ``name`` identifies the step; in a loop ``key`` distinguishes its iterations. The result is JSON, decoded by the
        return annotation. A plain function runs in a thread. One that raises is called again, 3 times in all unless
        ``max_attempts`` says otherwise, after the delays of ``backoff`` (as for a task); ``timeout`` is in seconds for
        one attempt. If the worker dies before the result is recorded, the function is called again; with
        ``transactional`` it writes in a transaction (a parameter ``connection``, or ``ctx.connection``) that is
        committed with the record, so its writes happen exactly once.

        Raises StepFailed when no attempt is left, and DurableError for a name that was used before.
        """
        recorded = self._run.ask(name, key, "step")
        if recorded is not None and recorded.status == "completed":
            return steps.decoded(function, recorded.result)
        rules = steps.rules_of(max_attempts, backoff, backoff_delay, backoff_max)
        call = steps.StepCall(self._run, name, key, function, rules, recorded)
        plain = not is_coroutine_function(function)
        while await call.ready():
            try:
                async with asyncio.timeout(timeout):
                    if transactional:
                        async with self._run.checkpoints.transaction(self._run.id, plain=plain) as transaction:
                            value = await self._called(name, function, args, plain, transaction)
                            await call.commit(transaction, value)
                            continue
                    value = await self._called(name, function, args, plain, None)
            except Exception as error:  # noqa: BLE001 - it is tried again, or StepFailed is raised
                await call.failed(error)
            except BaseException:
                call.cancelled()
                raise
            else:
                await call.succeeded(value)
        return steps.decoded(function, call.result)

    async def _called(
        self,
        name: str,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        plain: bool,
        transaction: StepTransaction | None,
    ) -> Any:
        call = partial(function, *args)
        inside = INSIDE.set(name)
        token = None
        if transaction is not None:
            token = _CONNECTION.set(transaction.connection)
            call = _with_connection(function, call, transaction.connection)
        try:
            with self._run.checkpoints.span(name):
                value = await _in_thread(call) if plain else call()
                return await value if inspect.isawaitable(value) else value
        finally:
            INSIDE.reset(inside)
            if token is not None:
                _CONNECTION.reset(token)

    async def sleep(self, name: str, duration: Duration, *, key: str = "") -> None:
        """Sleep for a duration (seconds, a timedelta, or text such as ``"1h"``), without slot, lease or connection."""
        await steps.sleep(self._run, name, key, duration)

    async def wait_for(self, event: str, *, timeout: Duration | None = None, key: str = "") -> Any:
        """Return the payload of the next event of this name in the task's mailbox; waits until there is one.

        Each event is consumed once, the oldest first; events that arrived earlier are already there. A second wait for
        the same event needs a ``key``. Raises EventTimeout when none arrives within ``timeout``.
        """
        return steps.value_of(await steps.wait_for(self._run, event, key, timeout))

    async def run(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        step: str | None = None,
        key: str = "",
        cancel_with_parent: bool = True,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Schedule a child task, and return its result as JSON has it.

        ``step`` is the name of the step, by default the task type; ``options`` are those of ``schedule``. The child
        is cancelled with this task unless ``cancel_with_parent`` is False. Raises ChildFailed when it is dead,
        cancelled or deleted.
        """
        return await steps.run_child(
            self._run, step or task_type, key, task_type, payload, options, cancels=cancel_with_parent
        )


class PlainDurableContext(DurableBase):
    """The context of a plain durable handler: like :class:`DurableContext`, without ``await``."""

    __slots__ = ("_loop",)

    def enter(self, run: DurableRun, handler: Handler) -> Handler:
        """Set the run that the attempt belongs to, and return the handler within it (called by the worker)."""
        self._loop = asyncio.get_running_loop()
        return super().enter(run, handler)

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the worker's event loop, and return its result."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            raise Suspended from None  # the attempt is over

    def step(
        self,
        name: str,
        function: Callable[..., R],
        *args: Any,
        key: str = "",
        transactional: bool = False,
        max_attempts: int | None = None,
        backoff: str | None = None,
        backoff_delay: Duration | None = None,
        backoff_max: Duration | None = None,
    ) -> R:
        """Like :meth:`DurableContext.step`; the function runs in the handler's thread, which nothing can stop."""
        if is_coroutine_function(function):
            raise DurableError(f"step {name!r} of a plain handler must be a plain function")
        recorded = self._run.ask(name, key, "step")
        if recorded is not None and recorded.status == "completed":
            return steps.decoded(function, recorded.result)  # type: ignore[no-any-return]
        rules = steps.rules_of(max_attempts, backoff, backoff_delay, backoff_max)
        call = steps.StepCall(self._run, name, key, function, rules, recorded)
        while self.call(call.ready()):
            inside = INSIDE.set(name)
            try:
                if transactional:
                    self._in_transaction(call, function, args)
                    continue
                with self._run.checkpoints.span(name):
                    value: Any = function(*args)
            except Exception as error:  # noqa: BLE001 - it is tried again, or StepFailed is raised
                self.call(call.failed(error))
            except BaseException:
                self._loop.call_soon_threadsafe(call.cancelled)
                raise
            else:
                self.call(call.succeeded(value))
            finally:
                INSIDE.reset(inside)
        return steps.decoded(function, call.result)  # type: ignore[no-any-return]

    def _in_transaction(self, call: steps.StepCall, function: Callable[..., Any], args: tuple[Any, ...]) -> None:
        manager = self._run.checkpoints.transaction(self._run.id, plain=True)
        transaction = self.call(_awaited(manager.__aenter__()))
        error: BaseException | None = None
        token = _CONNECTION.set(transaction.connection)
        try:
            with self._run.checkpoints.span(call.name):
                value = _with_connection(function, partial(function, *args), transaction.connection)()
            self.call(call.commit(transaction, value))
        except BaseException as raised:
            error = raised
            raise
        finally:
            _CONNECTION.reset(token)
            kind = None if error is None else type(error)
            self.call(_awaited(manager.__aexit__(kind, error, None if error is None else error.__traceback__)))

    def sleep(self, name: str, duration: Duration, *, key: str = "") -> None:
        """Like :meth:`DurableContext.sleep`."""
        self.call(steps.sleep(self._run, name, key, duration))

    def wait_for(self, event: str, *, timeout: Duration | None = None, key: str = "") -> Any:
        """Like :meth:`DurableContext.wait_for`."""
        return steps.value_of(self.call(steps.wait_for(self._run, event, key, timeout)))

    def run(
        self,
        task_type: str,
        payload: Mapping[str, Any] | None = None,
        *,
        step: str | None = None,
        key: str = "",
        cancel_with_parent: bool = True,
        **options: Unpack[TaskOptions],
    ) -> Any:
        """Like :meth:`DurableContext.run`."""
        return self.call(
            steps.run_child(self._run, step or task_type, key, task_type, payload, options, cancels=cancel_with_parent)
        )


def _in_thread(call: Callable[[], Any]) -> asyncio.Future[Any]:
    """Run a plain function in a thread that does not keep the process from ending."""
    return in_thread(partial(contextvars.copy_context().run, call), name="pgsched step")


async def _awaited(one: Awaitable[T]) -> T:
    return await one


def _with_connection(function: Callable[..., Any], call: partial[Any], connection: Any) -> partial[Any]:
    """Return the call with the connection, if the function has a parameter of that name."""
    try:
        takes = "connection" in inspect.signature(function).parameters
    except (TypeError, ValueError):
        takes = False
    return partial(call, connection=connection) if takes else call
