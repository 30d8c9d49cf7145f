"""Django's tasks on pgsched: what is enqueued, what a worker makes of it, what Django is told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from asgiref.sync import sync_to_async
from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.test import override_settings
from django.utils import timezone

from pgsched.domain.errors import ConfigError, RegistrationError
from pgsched.execution.context import Context
from pgsched.execution.middleware import CallNext
from pgsched.execution.registry import Registry
from tests.support.django_site import set_up, site_on
from tests.support.engine import engine, handlers
from tests.support.tables import database, insert_task, set_running, task_row

set_up()

from django_tasks import TaskResultStatus, task  # noqa: E402
from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist, TaskResultMismatch  # noqa: E402
from django_tasks.signals import task_enqueued, task_finished, task_started  # noqa: E402
from orders.models import Order  # noqa: E402
from orders.tasks import confirm, count, fail  # noqa: E402

from pgsched.integrations.django.backend import PgschedBackend, priority_of  # noqa: E402
from pgsched.integrations.django.registered import queues, registered_tasks  # noqa: E402
from pgsched.integrations.django.results import error_of  # noqa: E402
from pgsched.integrations.django.running import tidy, worker_app  # noqa: E402

BACKEND = "pgsched.integrations.django.backend.PgschedBackend"


class _Stop(Exception):
    pass


@pytest.fixture(autouse=True)
def site(dsn: str) -> Iterator[None]:
    with site_on(dsn):
        yield


def _registry() -> Registry:
    return worker_app().registry


def _work(dsn: str) -> None:
    """Claim and run what is due; what failed is due again at once."""

    async def work() -> None:
        registry = await asyncio.to_thread(_registry)
        async with engine(dsn, registry, queues=("*",)) as one:
            await one.work()

    asyncio.run(work())  # Django's connections stay outside the event loop
    with database(dsn) as connection:
        connection.execute("update pgsched.tasks set next_run_at = now() where status = 'pending' and attempts > 0")


@task
def nowhere() -> None:
    """A task that no worker would find."""


# Enqueuing.


def test_task_is_there_if_and_only_if_the_block_commits(dsn: str) -> None:
    with suppress(_Stop), transaction.atomic():
        undone = confirm.enqueue(1)
        assert confirm.get_result(undone.id).status == TaskResultStatus.READY  # seen by who enqueued it
        raise _Stop
    with pytest.raises(TaskResultDoesNotExist):
        confirm.get_result(undone.id)
    with transaction.atomic():
        kept = confirm.enqueue(1)
    assert confirm.get_result(kept.id).status == TaskResultStatus.READY


async def test_enqueuing_and_results_work_on_an_event_loop(dsn: str) -> None:
    result = await count.aenqueue("placed")
    again = await count.aget_result(result.id)
    assert (again.args, again.status) == (["placed"], TaskResultStatus.READY)
    await again.arefresh()
    await sync_to_async(connections.close_all)()


def test_row_has_queue_priority_time_and_options(dsn: str) -> None:
    after = timezone.now() + timedelta(hours=1)
    result = confirm.using(priority=-100, run_after=after).enqueue(number=7)
    with database(dsn) as connection:
        row = task_row(connection, int(result.id))
    assert (row["task_type"], row["queue"], row["priority"]) == ("orders.tasks.confirm", "mail", 1)
    assert (row["scheduled_for"], row["max_attempts"]) == (after, 2)
    assert row["payload"] == {"args": [], "kwargs": {"number": 7}}
    found = confirm.get_result(result.id)
    assert (found.task.priority, found.task.queue_name, found.task.run_after) == (-100, "mail", after)
    assert found.kwargs == {"number": 7}


@pytest.mark.parametrize(("theirs", "ours"), [(-100, 1), (-1, 5), (0, 5), (1, 5), (50, 7), (99, 9), (100, 10)])
def test_priority_is_mapped_in_order(theirs: int, ours: int) -> None:
    assert priority_of(theirs) == ours
    assert sorted(range(-100, 101), key=priority_of) == list(range(-100, 101))


def test_task_that_no_worker_would_find_is_refused(dsn: str) -> None:
    with pytest.raises(InvalidTaskError, match=r"'.*nowhere' would not be found by a worker"):
        nowhere.enqueue()
    with pytest.raises(InvalidTaskError, match="Queue 'odd' is not valid"):
        confirm.using(queue_name="odd")
    with pytest.raises(TypeError, match="Unsupported type"):
        confirm.enqueue(object())


# Running.


def test_task_that_runs_uses_the_orm_and_returns_its_value(dsn: str) -> None:
    order = Order.objects.create(buyer="ada")
    result = confirm.enqueue(order.pk)
    told: list[str] = []
    signals = (task_enqueued, task_started, task_finished)

    def tell(signal: Any, task_result: Any, **_rest: Any) -> None:
        told.append(f"{task_result.id} {task_result.status}")

    for signal in signals:
        signal.connect(tell)
    try:
        _work(dsn)
    finally:
        for signal in signals:
            signal.disconnect(tell)
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, "confirmed to ada")
    assert (result.attempts, len(result.worker_ids), result.errors) == (1, 1, [])
    assert result.enqueued_at <= result.started_at <= result.finished_at
    order.refresh_from_db()
    assert order.status == "confirmed"
    assert told == [f"{result.id} RUNNING", f"{result.id} SUCCESSFUL"]
    with pytest.raises(TaskResultMismatch):
        count.get_result(result.id)


def test_async_task_runs_on_the_event_loop(dsn: str) -> None:
    Order.objects.create(buyer="ada")
    result = count.enqueue("placed")
    _work(dsn)
    result.refresh()
    assert (result.status, result.return_value) == (TaskResultStatus.SUCCESSFUL, 1)


def test_task_that_fails_is_tried_again_and_keeps_its_errors(dsn: str) -> None:
    result = fail.enqueue(why="no luck")
    _work(dsn)
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.READY, 1)
    _work(dsn)
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.FAILED, 2)
    assert [one.exception_class for one in result.errors] == [LookupError, LookupError]
    assert "no luck, attempt 2" in result.errors[1].traceback  # the context said which
    assert "in fail" in result.errors[1].traceback
    with pytest.raises(ValueError, match="failed"):
        _ = result.return_value


def test_running_task_has_its_worker(dsn: str) -> None:
    result = confirm.enqueue(1)
    with database(dsn) as connection:
        set_running(connection, int(result.id))
    result.refresh()
    assert (result.status, result.attempts) == (TaskResultStatus.RUNNING, 1)
    assert result.last_attempted_at is not None


def test_row_that_names_an_unregistered_function_is_never_run(dsn: str) -> None:
    with database(dsn) as connection:
        planted = insert_task(connection, "os.system", payload='{"args": ["false"], "kwargs": {}}')
        odd = insert_task(connection, "orders.tasks.confirm", payload='{"number": 1}')
        assert "os.system" not in registered_tasks()
        _work(dsn)
        assert task_row(connection, planted)["attempts"] == 0
        died = task_row(connection, odd)
    assert (died["status"], "'number'" in died["last_error"]) == ("dead", True)
    with pytest.raises(TaskResultDoesNotExist, match=r"'os\.system', not a task of this project"):
        confirm.get_result(str(planted))
    with pytest.raises(TaskResultDoesNotExist, match="must be a number"):
        confirm.get_result("1; drop table")


@pytest.mark.parametrize("tidied", [True, False])
def test_thread_of_a_handler_is_left_without_a_connection(dsn: str, tidied: bool) -> None:
    found: list[bool] = []

    def look() -> None:
        found.append(connections["default"].connection is not None)
        Order.objects.count()

    async def look_async() -> None:
        await sync_to_async(look)()

    registry = handlers(look=look, look_async=look_async)
    if tidied:  # and without it, to see that the test would notice
        for handler in list(registry):
            registry.replace(tidy(handler))

    async def run() -> None:
        async with engine(dsn, registry, concurrency=1) as one:
            with database(dsn) as connection:
                for task_type in ("look", "look", "look_async", "look_async"):
                    insert_task(connection, task_type)
                    await one.work()
            await sync_to_async(connections.close_all)()

    asyncio.run(run())
    assert found == ([False] * 4 if tidied else [False, True, False, True])


def test_handlers_of_the_project_s_own_app_run_beside_the_tasks(dsn: str) -> None:
    from orders.jobs import app

    Order.objects.create(buyer="eve", status="cancelled")
    with transaction.atomic():
        app.client().schedule("orders.sweep", connection=connections["default"])
    _work(dsn)
    assert not Order.objects.exists()
    assert worker_app().registry.task_types == ["orders.sweep", *sorted(registered_tasks())]


def test_what_surrounds_the_project_s_own_app_surrounds_the_tasks_too(
    dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from orders.jobs import app

    async def clients() -> AsyncIterator[None]:
        yield

    async def around(ctx: Context, call_next: CallNext) -> object:
        return await call_next(ctx)

    monkeypatch.setattr(app, "_lifespans", [])
    monkeypatch.setattr(app, "_middleware", [])
    app.lifespan(clients)
    app.middleware(around)
    surroundings = worker_app().surroundings()
    assert len(surroundings.lifespans) == 1
    for task_type in ("orders.sweep", "orders.tasks.confirm"):
        assert surroundings.middleware_of(task_type) == (around,)


# Settings.


def test_settings_that_make_no_sense_are_refused_by_name(dsn: str) -> None:
    for given, said in (
        ({"ALIAS": "x"}, "unknown key 'ALIAS'"),
        ({"APP": 5}, "APP must be text"),
        ({"TASK_MODULES": "x"}, "TASK_MODULES must be a list"),
        (5, "must be a dictionary"),
    ):
        with override_settings(PGSCHED=given), pytest.raises(ImproperlyConfigured, match=said):
            worker_app()
    with override_settings(PGSCHED={"APP": "orders.jobs:nothing"}), pytest.raises(ConfigError, match='no "nothing"'):
        worker_app()
    with pytest.raises(ImproperlyConfigured, match="unknown option 'retries'"):
        PgschedBackend("default", {"OPTIONS": {"retries": 1}})
    with pytest.raises(ImproperlyConfigured, match="max_attempts must be"):
        PgschedBackend("default", {"OPTIONS": {"max_attempts": 0}})


def test_name_that_is_taken_twice_is_refused(dsn: str) -> None:
    from orders.jobs import app

    with mock.patch.object(app, "registry", Registry()):
        app.task("orders.tasks.confirm")(lambda: None)
        with pytest.raises(RegistrationError, match="registered already"):
            worker_app()


def test_modules_that_settings_name_are_looked_into_too(dsn: str) -> None:
    assert queues() == ["default", "mail"]
    with override_settings(PGSCHED={"TASK_MODULES": [__name__]}):
        assert f"{__name__}.nowhere" in registered_tasks()
    assert f"{__name__}.nowhere" not in registered_tasks()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("ValueError: no", "builtins.ValueError"),
        ("KeyError", "builtins.KeyError"),
        ("django.db.utils.DataError: no", "django.db.utils.DataError"),
        ("timed out after 5 s", "builtins.TimeoutError"),
        ("Discard: no", "pgsched.errors.Discard"),
        ("lost", "pgsched.errors.PgschedError"),
        ("Odd: no", "pgsched.errors.PgschedError"),
    ],
)
def test_class_of_an_error_is_read_from_its_text(text: str, path: str) -> None:
    assert error_of(text).exception_class_path == path
    assert issubclass(error_of(text).exception_class, BaseException)


def test_time_without_zone_is_one_of_the_project_s(dsn: str) -> None:
    with override_settings(USE_TZ=False, TIME_ZONE="Europe/Berlin"):
        result = confirm.using(run_after=datetime(2030, 6, 1, 14)).enqueue(1)
    with database(dsn) as connection:
        assert task_row(connection, int(result.id))["scheduled_for"] == datetime(2030, 6, 1, 12, tzinfo=UTC)


def test_what_the_register_says_of_a_function_holds_for_what_is_enqueued(dsn: str) -> None:
    with database(dsn) as connection:
        entry = {"task_type": confirm.module_path, "defaults": {"max_attempts": 9, "timeout": "30s", "queue": "slow"}}
        connection.execute("select pgsched.register(%s)", (json.dumps([entry]),))
        row = task_row(connection, int(confirm.enqueue(1).id))
    assert (row["max_attempts"], row["timeout"]) == (2, timedelta(seconds=30)), "the backend says the attempts"
    assert row["queue"] == "mail", "Django says the queue itself"
