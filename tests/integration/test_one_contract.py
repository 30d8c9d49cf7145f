"""What a handler or a queue says of its tasks holds from whichever face a task comes."""

from __future__ import annotations

import asyncio
import functools
import json
import subprocess
import sys
import warnings
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgsched.app.app import App
from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask, UnknownTaskType
from pgsched.domain.records import HandlerInfo
from pgsched.domain.task_spec import OWN_OPTIONS, RULES, TaskOptions, TaskSpec
from pgsched.execution.context import Context
from pgsched.flow import group, step
from pgsched.worker.registration import sync_handlers
from tests.support.commands import pgsched
from tests.support.engine import engine, make_due, running_worker
from tests.support.pages import Page
from tests.support.tables import database
from tests.support.waiting import wait_until_async
from tests.support.web_face import web

SAID: TaskOptions = {
    "queue": "slow",
    "priority": 8,
    "name": "Every option",
    "tags": ["a", "b"],
    "metadata": {"team": "billing"},
    "tenant_id": "acme",
    "user_id": "ada",
    "created_by": "the handler",
    "timezone": "Europe/Berlin",
    "on_missed": "all",
    "catchup_window": "1d",
    "overlap": "allow",
    "jitter": "2s",
    "max_attempts": 2,
    "backoff": "fixed",
    "backoff_delay": "100ms",
    "backoff_max": "10s",
    "backoff_factor": 3.0,
    "backoff_jitter": 0.5,
    "timeout": "30s",
    "dependency_mode": "any",
    "on_dependency_dead": "run",
    "concurrency_key": "acme",
    "alert_if_no_success_for": "1h",
    "alert_if_running_for": "10m",
}
"""Each option that a handler may say, with another value than pgsched's."""
COLUMNS = {RULES[name].parameter: value for name, value in SAID.items()} | {
    "catchup_window": timedelta(days=1),
    "jitter": timedelta(seconds=2),
    "backoff_delay": timedelta(milliseconds=100),
    "backoff_max": timedelta(seconds=10),
    "timeout": timedelta(seconds=30),
    "alert_if_no_success_for": timedelta(hours=1),
    "alert_if_running_for": timedelta(minutes=10),
}
TYPE, PARENT = "every", "parent"
OURS = {"created_by"}
"""What the web face says itself."""
GROUPS = {"task_name", "tenant_id", "user_id", "created_by", "timezone"}
"""What a step has from its group, and is not asked of its handler."""


def an_app(dsn: str, **said: Any) -> App:
    app = App(dsn=dsn, version="1.2.3")

    @app.task(TYPE, **said)
    def every() -> None:
        """Do everything."""

    @app.task(PARENT)
    async def parent(ctx: Context) -> None:
        async with AsyncClient(dsn) as client:
            await client.schedule(TYPE, parent_id=ctx.id)

    return app


def register(app: App) -> None:
    asyncio.run(sync_handlers(dsn=app.dsn, registry=app.registry, retire=False, waiting=False))


Face = Callable[[App], Awaitable[object]]


async def by_insert(app: App) -> None:
    with database(app.dsn) as db:
        db.execute("insert into pgsched.tasks (task_type) values (%s)", (TYPE,))


async def by_nulls(app: App) -> None:
    names = ", ".join(COLUMNS)
    with database(app.dsn) as db:
        db.execute(
            f"insert into pgsched.tasks (task_type, {names}) values (%s{', null' * len(COLUMNS)})",  # type: ignore[arg-type]
            (TYPE,),
        )


async def by_function(app: App) -> None:
    with database(app.dsn) as db:
        db.execute("select pgsched.schedule(%s)", (TYPE,))


async def by_upsert(app: App) -> None:
    with database(app.dsn) as db:
        db.execute("select pgsched.upsert(%s)", (json.dumps({"task_type": TYPE, "idempotency_key": "k"}),))


async def by_copy(app: App) -> None:
    with database(app.dsn) as db, db.cursor().copy("copy pgsched.tasks (task_type) from stdin") as copy:
        copy.write_row((TYPE,))


async def by_app_client(app: App) -> None:
    app.client().schedule(TYPE)


async def by_app_async_client(app: App) -> None:
    await app.async_client().schedule(TYPE)
    await app.close_async()


async def by_bare_client(app: App) -> None:
    with Client(app.dsn) as client:
        client.schedule(TYPE)


async def by_bare_async_client(app: App) -> None:
    async with AsyncClient(app.dsn) as client:
        await client.schedule(TYPE)


async def by_schedule_many(app: App) -> None:
    with Client(app.dsn) as client:
        client.schedule_many([TaskSpec(task_type=TYPE)])


async def by_schedule_many_with_keys(app: App) -> None:
    with Client(app.dsn) as client:
        client.schedule_many([TaskSpec(task_type=TYPE, idempotency_key="k")])


async def by_command(app: App) -> None:
    assert (await asyncio.to_thread(pgsched, "task", "add", TYPE, dsn=app.dsn)).code == 0


async def by_rest(app: App) -> None:
    async with web(app.dsn) as http:
        assert (await http.post("/api/v1/tasks", json={"task_type": TYPE})).status_code == 201


async def by_dashboard(app: App) -> None:
    async with web(app.dsn) as http:
        answer = await http.post(
            "/schedules/new", data={"task_type": TYPE, "payload": "{}", "queue": "", "priority": ""}
        )
        assert answer.status_code == 303, answer.text


async def by_group_step(app: App) -> None:
    with Client(app.dsn) as client:
        client.schedule_group(group(step(TYPE, name="one")), jitter="0s")
    async with engine(app.dsn, app.registry) as one:
        await one.work()


async def by_child(app: App) -> None:
    with Client(app.dsn) as client:
        client.schedule(PARENT, queue="parents")
    async with engine(app.dsn, app.registry, queues=("*",)) as one:
        await one.work()


FACES: list[tuple[Face, set[str]]] = [
    (by_insert, set()),
    (by_nulls, set()),
    (by_function, set()),
    (by_upsert, set()),
    (by_copy, set()),
    (by_app_client, set()),
    (by_app_async_client, set()),
    (by_bare_client, set()),
    (by_bare_async_client, set()),
    (by_schedule_many, set()),
    (by_schedule_many_with_keys, set()),
    (by_command, set()),
    (by_rest, OURS),
    (by_dashboard, OURS),
    (by_group_step, GROUPS),
    (by_child, set()),
]


def made(dsn: str) -> dict[str, Any]:
    """The task that was made, and of it what a handler may say."""
    with database(dsn) as db:
        (row,) = db.execute("select * from pgsched.tasks where task_type = %s", (TYPE,)).fetchall()
    return {name: row[name] for name in COLUMNS}


def test_each_option_that_may_have_a_default_is_tried() -> None:
    assert SAID.keys() == RULES.keys() - OWN_OPTIONS - {"task_type", "payload"}


@pytest.mark.parametrize(("face", "own"), FACES, ids=[face.__name__ for face, _ in FACES])
def test_what_the_handler_says_holds_from_each_face(dsn: str, face: Face, own: set[str]) -> None:
    app = an_app(dsn, **SAID)
    register(app)
    asyncio.run(_of(face, app))
    row = made(dsn)
    assert {name: row[name] for name in row.keys() - own} == {name: COLUMNS[name] for name in COLUMNS.keys() - own}


@pytest.mark.parametrize(("face", "own"), FACES, ids=[face.__name__ for face, _ in FACES])
def test_what_the_queue_says_holds_from_each_face_where_the_handler_says_nothing(
    dsn: str, face: Face, own: set[str]
) -> None:
    app = an_app(dsn, max_attempts=7)
    register(app)
    said = {name: value for name, value in SAID.items() if name != "queue"}
    with Client(dsn) as client:
        client.set_queue("default", defaults=said)  # type: ignore[typeddict-item]
    asyncio.run(_of(face, app))
    row = made(dsn)
    inherited = own | (GROUPS | {"priority", "tags", "metadata", "concurrency_key"} if face is by_group_step else set())
    expected = COLUMNS | {"queue": "default", "max_attempts": 7}
    assert {name: row[name] for name in row.keys() - inherited} == {
        name: expected[name] for name in expected.keys() - inherited
    }


async def _of(face: Face, app: App) -> None:
    await face(app)
    app.close()


def test_the_row_says_more_than_the_handler_and_the_handler_more_than_the_queue(dsn: str) -> None:
    register(an_app(dsn, priority=6, timeout="5s"))
    with Client(dsn) as client:
        client.set_queue("default", defaults={"priority": 2, "timeout": "9s", "max_attempts": 9})
        task = client.get(client.schedule(TYPE, priority=10))
        assert (task.priority, task.timeout, task.max_attempts) == (10, client.get(task.id).timeout, 9)
        assert task.timeout is not None
        assert task.timeout.to_short_text() == "5s"
        client.set_queue("default", defaults=None)
        assert client.get(client.schedule(TYPE)).max_attempts == 3
        assert client.queue("default").defaults is None


async def test_a_copy_and_a_tick_have_what_the_schedule_has_whatever_is_said_since(dsn: str) -> None:
    app = an_app(dsn, timeout="5s", max_attempts=9, tenant_id="acme")
    async with AsyncClient(dsn) as client:
        schedule = await client.schedule(TYPE, every="1h", overlap="allow")
        await asyncio.to_thread(register, app)
        copy = await client.get(await client.run_now(schedule))
        assert (copy.max_attempts, copy.timeout, copy.tenant_id) == (3, None, None)
        with database(dsn) as db:
            make_due(db, schedule)
        async with engine(dsn, app.registry) as one:
            await one.work()
        ticks = [task for task in await client.list_tasks() if task.parent_id == schedule and task.id != copy.id]
        assert [(tick.max_attempts, tick.timeout, tick.tenant_id) for tick in ticks] == [(3, None, None)]


def test_a_queue_refuses_defaults_that_make_no_sense(dsn: str) -> None:
    with Client(dsn) as client:
        with pytest.raises(InvalidTask, match=r"defaults of queue 'mail': priority must be between 1 and 10, got 11"):
            client.set_queue("mail", defaults={"priority": 11})
        with pytest.raises(InvalidTask, match="defaults of queue 'mail': delay is an option of single tasks"):
            client.set_queue("mail", defaults={"delay": 3})
        with pytest.raises(InvalidTask, match="defaults of queue 'mail': queue is no default of a queue"):
            client.set_queue("mail", defaults={"queue": "other"})


def test_sql_and_the_dashboard_set_what_a_queue_says_and_refuse_the_same(dsn: str) -> None:
    async def by_form(defaults: str) -> int:
        async with web(dsn) as http:
            return (await http.post("/queues/settings", data={"queue": "mail", "defaults": defaults})).status_code

    assert asyncio.run(by_form('{"max_attempts": 5, "timeout": "30 seconds"}')) == 303
    with Client(dsn) as client, database(dsn) as db:
        assert client.queue("mail").defaults == {"max_attempts": 5, "timeout": "00:00:30"}
        assert asyncio.run(by_form('{"max_attempt": 5}')) == 422
        assert asyncio.run(by_form('{"max_attempts": 0}')) == 422
        for columns, words in (
            ({"max_attempt": 5}, "defaults of queue 'mail': max_attempt is no option that it may say"),
            ({"kind": "handler"}, "kind is no option"),
        ):
            with pytest.raises(psycopg.errors.InvalidParameterValue, match=words):
                db.execute("select pgsched.set_defaults('queue', 'mail', %s)", (json.dumps(columns),))
        with pytest.raises(psycopg.errors.CheckViolation, match="max_attempts_must_be_between_1_and_1000"):
            db.execute("""select pgsched.set_defaults('queue', 'mail', '{"max_attempts": 0}')""")
        with pytest.raises(psycopg.errors.CheckViolation, match="queue_is_said_by_handlers_alone"):
            db.execute("""select pgsched.set_defaults('queue', 'mail', '{"queue": "other"}')""")
        assert client.queue("mail").defaults == {"max_attempts": 5, "timeout": "00:00:30"}
        (changed,) = db.execute("select pgsched.set_defaults('queue', 'mail', '{}') as changed")
        assert changed["changed"]
        assert client.queue("mail").defaults is None


async def test_the_form_of_a_new_task_offers_the_types_and_what_they_require(dsn: str) -> None:
    app = App(dsn=dsn)

    @app.task("mail")
    def mail(to: str, subject: str = "") -> None:
        """Send <one> mail."""

    await asyncio.to_thread(register, app)
    async with web(dsn) as http:
        text = (await http.get("/schedules/new", params={"task_type": "mail"})).text
    assert '<option value="mail">Send &lt;one&gt; mail.</option>' in text
    page = Page(text)
    assert page.problems() == []
    labels = [e.text for e in page.all("label") if e.attributes.get("for", "").endswith("-payload")]
    assert labels == ["to required", "subject"]


def test_the_shell_completes_registered_types(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    register(an_app(dsn))
    asked = {"_PGSCHED_COMPLETE": "bash_complete", "COMP_WORDS": "pgsched task add ev", "COMP_CWORD": "3"}
    for name, value in (asked | {"PGSCHED_DSN": dsn}).items():
        monkeypatch.setenv(name, value)
    done = subprocess.run([sys.executable, "-m", "pgsched"], capture_output=True, text=True, check=False)
    assert done.stdout.split() == [f"plain,{TYPE}"], done.stderr


async def test_the_insert_that_a_page_shows_makes_a_task_like_the_shown_one(dsn: str) -> None:
    await asyncio.to_thread(register, an_app(dsn, max_attempts=9))
    async with AsyncClient(dsn) as client:
        task_id = await client.schedule(TYPE, max_attempts=3)
    async with web(dsn) as http:
        assert "max_attempts" in (await http.get(f"/tasks/{task_id}")).text.split("insert into pgsched.tasks")[1]


async def test_workers_register_their_handlers_when_they_start(dsn: str) -> None:
    app = an_app(dsn, max_attempts=2, timeout="30s")
    async with AsyncClient(dsn) as client:
        assert await client.handlers() == []
        async with running_worker(dsn, app.registry):
            every, parent = await wait_until_async(client.handlers, message="the handlers are registered")
            assert (every.task_type, parent.task_type) == (TYPE, PARENT)
            assert every.defaults == {"max_attempts": 2, "timeout": "00:00:30"}
            assert (every.version, every.description, every.workers) == ("1.2.3", "Do everything.", 1)
            assert every.retired_at is None
            assert parent.defaults is None
        first = {one.task_type: one for one in await client.handlers()}
        async with running_worker(dsn, app.registry):
            assert [one.registered_at for one in await client.handlers()] == [
                one.registered_at for one in first.values()
            ]

        async def rewritten() -> dict[str, HandlerInfo]:
            now = {one.task_type: one for one in await client.handlers()}
            return now if now[TYPE].defaults == {"max_attempts": 4} else {}

        async with running_worker(dsn, an_app(dsn, max_attempts=4).registry):
            changed = await wait_until_async(rewritten, message="what has changed is registered")
        assert changed[TYPE].defaults == {"max_attempts": 4}
        assert changed[TYPE].registered_at > first[TYPE].registered_at
        assert changed[PARENT].registered_at == first[PARENT].registered_at


# Types that nobody has registered.


def test_a_type_that_nobody_has_registered_is_taken_and_said(dsn: str) -> None:
    with Client(dsn) as client:
        assert client.schedule("evry").warnings == (), "while nothing is registered nobody knows better"
        register(an_app(dsn))
        with pytest.warns(UnknownTaskType, match=r"task_type 'evry' is not registered.*Did you mean 'every'\?"):
            task_id = client.schedule("evry")
        assert len(task_id.warnings) == 1
        assert client.get(task_id).status == "pending"
        with pytest.warns(UnknownTaskType) as said:
            client.schedule_many(TaskSpec(task_type=name) for name in ("evry", "evry", TYPE, "quite-another"))
        assert [str(one.message).split(". ")[1:] for one in said] == [["Did you mean 'every'?"], []]
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert client.schedule(TYPE).warnings == ()
            client.schedule_many([TaskSpec(task_type=TYPE)])


async def test_it_is_said_on_an_event_loop_in_a_transaction_and_on_a_callers_connection(dsn: str) -> None:
    await asyncio.to_thread(register, an_app(dsn))
    async with AsyncClient(dsn) as client:
        with pytest.warns(UnknownTaskType):
            assert (await client.schedule("evry")).warnings
        async with client.transaction() as inside:
            with pytest.warns(UnknownTaskType):
                assert (await inside.schedule("evry")).warnings
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                assert (await inside.schedule("evry")).warnings == (), "once a transaction"
        async with await psycopg.AsyncConnection.connect(dsn) as own:
            with pytest.warns(UnknownTaskType):
                assert (await client.schedule("evry", connection=own)).warnings


def test_psql_the_command_line_and_rest_say_it(dsn: str) -> None:
    register(an_app(dsn))
    said: list[str] = []
    with database(dsn) as db:
        db.add_notice_handler(
            lambda notice: said.append(f"{notice.severity}: {notice.message_primary} {notice.message_hint}")
        )
        db.execute("insert into pgsched.tasks (task_type) values ('evry')")
    assert said == [
        "NOTICE: task_type 'evry' is not registered: no worker has had a handler for it Did you mean 'every'?"
    ]
    done = pgsched("task", "add", "evry", dsn=dsn)
    assert (done.code, done.stderr.strip().splitlines()[-1].startswith("pgsched: task_type 'evry' is not")) == (0, True)

    async def ask() -> None:
        async with web(dsn) as http:
            answer = await http.post("/api/v1/tasks", json={"task_type": "evry"})
            assert answer.status_code == 201
            (warning,) = answer.json()["warnings"]
            assert "Did you mean 'every'?" in warning
            assert (await http.post("/api/v1/tasks", json={"task_type": TYPE})).json()["warnings"] == []

    asyncio.run(ask())


@pytest.mark.parametrize(("rule", "said", "taken"), [("accept", 0, True), ("tell", 1, True), ("refuse", 0, False)])
def test_the_settings_say_what_becomes_of_an_unknown_type(dsn: str, rule: str, said: int, taken: bool) -> None:
    register(an_app(dsn))
    with Client(dsn) as client, warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        client.set_settings(unknown_types=rule)
        assert client.settings().unknown_types == rule
        if taken:
            client.schedule("evry")
        else:
            with pytest.raises(InvalidTask, match="task_type 'evry' is not registered"):
                client.schedule("evry")
    assert len(heard) == said


def test_a_strict_handler_refuses_what_does_not_fit_at_the_insert(dsn: str) -> None:
    app = App(dsn=dsn)

    @app.task("mail", strict=True)
    def mail(to: str, subject: str = "") -> None:
        """Mail."""

    register(app)
    with Client(dsn) as client:
        client.schedule("mail", {"to": "a"})
        for payload, rule in (({}, "missing argument 'to'"), ({"to": "a", "cc": "b"}, "unexpected argument 'cc'")):
            with pytest.raises(InvalidTask, match=f"payload does not fit handler 'mail': {rule}"):
                client.schedule("mail", payload)
            with database(dsn) as db, pytest.raises(psycopg.errors.InvalidParameterValue, match=rule):
                db.execute("insert into pgsched.tasks (task_type, payload) values ('mail', %s)", (json.dumps(payload),))


def test_a_deployment_registers_retires_and_changes_what_waits(dsn: str) -> None:
    register(an_app(dsn, max_attempts=2, timeout="5s"))
    with Client(dsn) as client:
        waits, own = client.schedule(TYPE, delay="1h"), client.schedule(TYPE, delay="1h", max_attempts=5)
        changed = an_app(dsn, max_attempts=4)
        gone = App(dsn=dsn)
        sync = functools.partial(sync_handlers, dsn=dsn, retire=False)
        asyncio.run(sync(registry=changed.registry, waiting=False))
        assert client.get(waits).max_attempts == 2, "what was resolved stands in the row"
        asyncio.run(sync(registry=an_app(dsn, max_attempts=2, timeout="5s").registry, waiting=False))
        done = asyncio.run(sync(registry=changed.registry, waiting=True))
        assert {one.task_type: (one.outcome, one.waiting) for one in done}[TYPE] == ("written", 2)
        assert (client.get(waits).max_attempts, client.get(waits).timeout) == (4, None)
        assert (client.get(own).max_attempts, client.get(own).timeout) == (5, None)
        found = asyncio.run(sync(registry=gone.registry, waiting=False))
        assert {one.task_type: one.outcome for one in found} == {TYPE: "gone", PARENT: "gone"}
        assert not any(one.retired_at for one in client.handlers())
        asyncio.run(sync_handlers(dsn=dsn, registry=gone.registry, retire=True, waiting=False))
        assert all(one.retired_at for one in client.handlers())
        with pytest.warns(UnknownTaskType, match="task_type 'every' is retired: its handler is no longer in the code"):
            client.schedule(TYPE)
        register(changed)
        assert not any(one.retired_at for one in client.handlers())
