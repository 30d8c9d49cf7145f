"""The app: handlers, their options, and scheduling through them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import psycopg
import pytest

from pgsched.app.app import App
from pgsched.domain.errors import InvalidCron, InvalidTask, PayloadMismatch, RegistrationError, TaskNotFound
from pgsched.domain.task_spec import TaskSpec
from pgsched.execution.context import Context
from tests.support.engine import engine


@pytest.fixture
def app(dsn: str) -> Iterator[App]:
    app = App(dsn=dsn)
    yield app
    app.close()


# Registering.


def test_decorated_function_is_still_the_function() -> None:
    app = App()

    @app.task("add")
    def add(a: int, b: int = 2) -> int:
        """Add two numbers."""
        return a + b

    assert (add(1), vars(add)["__name__"], add.__doc__, add.task_type) == (3, "add", "Add two numbers.", "add")


def test_registry_knows_the_handler_and_its_options() -> None:
    app = App()

    @app.task("mail", queue="letters", max_attempts=5)
    def mail(to: str) -> None: ...

    handler = app.registry.get("mail")
    assert handler is not None
    assert handler.options == {"queue": "letters", "max_attempts": 5}
    assert mail.handler is handler


def test_option_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(InvalidTask, match="max_attempts must be between 1 and 1000, got 0"):
        App().task("mail", max_attempts=0)


def test_declared_schedule_that_makes_no_sense_is_refused_at_once() -> None:
    with pytest.raises(InvalidCron):
        App().task("digest", cron="0 25 * * *")


def test_task_type_is_registered_once() -> None:
    app = App()
    app.task("mail")(lambda: None)
    with pytest.raises(RegistrationError, match="'mail' is registered already"):
        app.task("mail")(lambda: None)


@pytest.mark.parametrize("transactional", [False, True])
@pytest.mark.parametrize("kind", ["async", "plain"])
def test_every_name_of_a_handler_runs_it(app: App, kind: str, transactional: bool) -> None:
    async def on_loop(ctx: Context) -> str:
        return ctx.task_type

    def plain(ctx: Context) -> str:
        return ctx.task_type

    function: Any = on_loop if kind == "async" else plain
    names = ["old", "older", "oldest"]
    for name in names:
        function = app.task(name, transactional=transactional, max_attempts=1)(function)
    ids = [app.client().schedule(name) for name in names]

    async def work() -> None:
        async with engine(app.dsn, app.registry) as one:
            await one.work()

    asyncio.run(work())
    assert [app.client().wait(task, timeout=5) for task in ids] == names


# The DSN.


def test_dsn_is_the_one_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGSCHED_DSN", "postgresql://environment")
    assert App(dsn="postgresql://given").dsn == "postgresql://given"


def test_dsn_is_that_of_the_environment_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    app = App()
    monkeypatch.setenv("PGSCHED_DSN", "postgresql://environment")
    assert app.dsn == "postgresql://environment"


def test_dsn_is_libpq_s_own_without_any(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PGSCHED_DSN", raising=False)
    assert App().dsn == ""


# The client.


def test_client_is_the_same_each_time(app: App) -> None:
    assert app.client() is app.client()


def test_client_uses_the_handler_s_options(app: App) -> None:
    app.task("mail", queue="letters", max_attempts=5, timeout="1m")(lambda to: None)
    task = app.client().get(app.client().schedule("mail", {"to": "a"}, max_attempts=7))
    assert (task.queue, task.max_attempts) == ("letters", 7)


def test_client_uses_the_handler_s_options_for_many(app: App) -> None:
    app.task("mail", queue="letters")(lambda: None)
    (task_id,) = app.client().schedule_many([TaskSpec(task_type="mail")])
    assert app.client().get(task_id).queue == "letters"


def test_task_of_a_declared_schedule_is_one_of_its_own(app: App) -> None:
    app.task("digest", cron="0 8 * * 1", timezone="Europe/Berlin", jitter=60, queue="letters")(lambda: None)
    task = app.client().get(app.client().schedule("digest"))
    assert (task.schedule_type, task.timezone, task.jitter, task.queue) == ("one_time", "UTC", None, "letters")


def test_client_of_a_closed_app_is_a_new_one(app: App) -> None:
    first = app.client()
    app.close()
    assert app.client() is not first


# Scheduling through the handler.


@pytest.fixture
def mail(app: App) -> Any:
    @app.task("mail", queue="letters")
    async def mail(to: str, subject: str = "", *, ctx: Context) -> None: ...

    return mail


def test_keyword_arguments_are_the_payload_and_the_options(app: App, mail: Any) -> None:
    task = app.client().get(mail.schedule(to="a", subject="b", priority=9, idempotency_key="k"))
    assert (task.payload, task.priority, task.queue) == ({"to": "a", "subject": "b"}, 9, "letters")


def test_payload_may_be_given_as_a_whole(app: App, mail: Any) -> None:
    assert app.client().get(mail.schedule(payload={"to": "a"}, delay=60)).payload == {"to": "a"}


def test_payload_given_twice_is_refused(mail: Any) -> None:
    with pytest.raises(PayloadMismatch, match="'mail': subject must be in payload"):
        mail.schedule(payload={"to": "a"}, subject="b")


@pytest.mark.parametrize(
    ("payload", "message"),
    [
        ({}, "missing argument 'to'"),
        ({"to": "a", "cc": "b"}, "unexpected argument 'cc'"),
        ({"to": "a", "ctx": "b"}, "'ctx'"),
    ],
)
def test_payload_that_does_not_fit_is_refused_at_once(
    app: App, mail: Any, payload: dict[str, str], message: str
) -> None:
    with pytest.raises(PayloadMismatch, match=message):
        mail.schedule(**payload)
    assert app.client().list_tasks() == []


def test_argument_with_the_name_of_an_option_must_be_in_the_payload(app: App) -> None:
    @app.task("move")
    def move(queue: str) -> None: ...

    with pytest.raises(PayloadMismatch, match=r"queue is both .* give the handler's as payload=\{'queue': ...\}"):
        move.schedule(queue="a")
    task = app.client().get(move.schedule(payload={"queue": "a"}, queue="b"))
    assert (task.payload, task.queue) == ({"queue": "a"}, "b")


def test_handler_joins_the_caller_s_transaction(app: App, mail: Any, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        task_id = mail.schedule(to="a", connection=connection)
        connection.rollback()
    with pytest.raises(TaskNotFound):
        app.client().get(task_id)


def test_handler_schedules_on_the_event_loop(app: App, mail: Any, dsn: str) -> None:
    async def main() -> int:
        first = await mail.schedule_async(to="a", idempotency_key="k")
        async with await psycopg.AsyncConnection.connect(dsn) as connection:
            second = await mail.schedule_async(to="b", idempotency_key="k", connection=connection)
        await app.close_async()
        assert first == second
        return int(first)

    assert app.client().get(asyncio.run(main())).payload == {"to": "a"}
