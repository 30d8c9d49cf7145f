"""Runs the handlers of a Django project, and cleans up its database connections around each run."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import replace
from inspect import iscoroutinefunction
from typing import Any

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.db import close_old_connections, connections, reset_queries
from django.utils import timezone

from pgsched.app.app import App
from pgsched.app.loading import load_app
from pgsched.domain.errors import Discard
from pgsched.execution.context import Context
from pgsched.execution.handler import Handler
from pgsched.execution.outcomes import describe
from pgsched.integrations.django.api import (
    Task,
    TaskContext,
    TaskResult,
    TaskResultStatus,
    normalize_json,
    task_finished,
    task_started,
)
from pgsched.integrations.django.conf import dsn_of, project_settings
from pgsched.integrations.django.registered import registered_tasks
from pgsched.integrations.django.results import error_of, new_result


def worker_app() -> App:
    """Return the App of the project's worker: its tasks, and the handlers of ``PGSCHED["APP"]``.

    Raises ConfigError if there is no such App, RegistrationError if a name is taken twice.
    """
    settings = project_settings()
    given = App() if settings.app is None else load_app(settings.app)
    app = App(dsn=dsn_of(settings.database), capture_logs=given.capture_logs)
    app.adopt(given)
    for handler in given.registry:
        app.registry.add(tidy(handler))
    for name, task in registered_tasks().items():
        handler = app.registry.register(name, _async_runner(task) if iscoroutinefunction(task.func) else _runner(task))
        app.registry.replace(tidy(handler))
    return app


def tidy(handler: Handler) -> Handler:
    """Return the handler with Django's connections cleaned up around each run, as around a request."""
    function: Callable[..., Any] = handler.function

    @functools.wraps(function)
    def run(**arguments: Any) -> Any:
        _tidy_up()
        try:
            return function(**arguments)
        finally:
            _tidy_up()

    @functools.wraps(function)
    async def run_async(**arguments: Any) -> Any:
        # As for a request, sync_to_async runs in a separate thread with its own connections.
        async with ThreadSensitiveContext():
            try:
                return await function(**arguments)
            finally:
                await sync_to_async(connections.close_all)()

    return replace(handler, function=run_async if handler.is_async else run)


def _tidy_up() -> None:
    close_old_connections()
    reset_queries()


def _runner(task: Task[Any, Any]) -> Callable[..., Any]:
    def run(ctx: Context, args: list[Any], kwargs: dict[str, Any]) -> Any:
        result = _begin(task, ctx, args, kwargs)
        try:
            value = task.func(*_given(task, result), *args, **kwargs)
        except BaseException as error:
            _failed(result, ctx, error)
            raise
        return _completed(result, value)

    return run


def _async_runner(task: Task[Any, Any]) -> Callable[..., Any]:
    async def run(ctx: Context, args: list[Any], kwargs: dict[str, Any]) -> Any:
        result = await sync_to_async(_begin)(task, ctx, args, kwargs)
        try:
            given = await sync_to_async(_given)(task, result)
            value = await task.func(*given, *args, **kwargs)
        except Exception as error:
            await sync_to_async(_failed)(result, ctx, error)
            raise
        return await sync_to_async(_completed)(result, value)

    return run


def _given(task: Task[Any, Any], result: TaskResult[Any]) -> tuple[TaskContext, ...]:
    """Return the leading context argument, if the task takes one."""
    return (TaskContext(task_result=task.get_backend().get_result(result.id)),) if task.takes_context else ()


def _begin(task: Task[Any, Any], ctx: Context, args: list[Any], kwargs: dict[str, Any]) -> TaskResult[Any]:
    now = timezone.now()
    payload = {"args": args, "kwargs": kwargs}
    running = TaskResultStatus.RUNNING
    result = new_result(task, ctx.id, running, payload, task.backend, started_at=now, last_attempted_at=now)
    task_started.send(type(task.get_backend()), task_result=result)
    return result


def _completed(result: TaskResult[Any], value: Any) -> Any:
    try:
        value = normalize_json(value)
    except (TypeError, ValueError):
        return value  # pgsched reports the problem
    object.__setattr__(result, "_return_value", value)
    _finish(result, TaskResultStatus.SUCCESSFUL)
    return value


def _failed(result: TaskResult[Any], ctx: Context, error: BaseException) -> None:
    if ctx.attempt < ctx.max_attempts and not isinstance(error, Discard):
        return  # it runs again
    result.errors.append(error_of(describe(error)))
    _finish(result, TaskResultStatus.FAILED)


def _finish(result: TaskResult[Any], status: TaskResultStatus) -> None:
    object.__setattr__(result, "status", status)
    object.__setattr__(result, "finished_at", timezone.now())
    task_finished.send(type(result.task.get_backend()), task_result=result)
