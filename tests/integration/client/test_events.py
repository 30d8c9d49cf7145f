"""Events that other programs are told, by NOTIFY."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pgsched import App, AsyncClient, Client, Context, Discard
from pgsched.domain.events import Event
from tests.support.commands import pgsched
from tests.support.engine import NOW, Engine, engine, handlers, history, nothing, running_worker, steal_leases
from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until, wait_until_async


class Told:
    """What came through the channel so far."""

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection
        self.events: list[dict[str, Any]] = []

    def now(self) -> list[dict[str, Any]]:
        """Everything that was committed before the call."""
        self._connection.execute("select 1")
        for notify in self._connection.notifies(timeout=0):
            assert len(notify.payload.encode()) < 8000
            self.events.append(json.loads(notify.payload))
        return self.events


@contextmanager
def told(dsn: str, *queues: str) -> Iterator[Told]:
    """Listen; the given queues tell their events."""
    with psycopg.connect(dsn, autocommit=True) as connection, Client(dsn) as client:
        for queue in queues:
            client.set_queue_events(queue, True)
        connection.execute("listen pgsched_events")
        yield Told(connection)


async def announcing(one: Engine) -> None:
    """Let the worker know which queues tell their events."""
    one.worker.broadcaster.look_again()
    await one.worker.broadcaster.run_once()


async def test_what_becomes_of_attempts_is_told(dsn: str) -> None:
    async def good() -> str:
        return "a secret result"

    async def bad() -> None:
        raise ValueError("no luck\nsecond line")

    async def worse() -> None:
        raise Discard("never")

    with database(dsn) as db, told(dsn, "default") as ear:
        ids = [insert_task(db, kind) for kind in "gbw"]
        registry = handlers(g=good, b=bad, w=worse)
        async with engine(dsn, registry) as one:
            await announcing(one)
            await one.work()
        events = {event["id"]: event for event in ear.now()}
    assert sorted(events) == ids
    good_one, bad_one, worse_one = (events[task_id] for task_id in ids)
    assert {name: good_one[name] for name in ("event", "task_type", "queue", "attempt", "error")} == {
        "event": "completed",
        "task_type": "g",
        "queue": "default",
        "attempt": 1,
        "error": None,
    }
    assert good_one.keys() == {"event", "id", "task_type", "queue", "attempt", "at", "duration", "error"}
    assert 0 <= good_one["duration"] < 10
    assert (bad_one["event"], bad_one["error"]) == ("failed", "ValueError: no luck")
    assert (worse_one["event"], worse_one["error"]) == ("dead", "Discard: never")


async def test_only_queues_that_ask_for_it_tell_anything(dsn: str) -> None:
    with database(dsn) as db, told(dsn, "loud") as ear:
        insert_task(db)
        loud = insert_task(db, queue="loud")
        async with engine(dsn, queues=("default", "loud")) as one:
            await announcing(one)
            await one.work()
        assert [event["id"] for event in ear.now()] == [loud]


async def test_a_running_worker_learns_of_the_switch_by_itself(dsn: str) -> None:
    with database(dsn) as db, told(dsn) as ear:
        async with running_worker(dsn) as worker, AsyncClient(dsn) as client:
            first = insert_task(db)
            await client.wait(first, 20)
            await client.set_queue_events("default", True)
            await wait_until_async(lambda: worker.completer.writer.announced == {"default"}, message="it has learnt it")
            second = insert_task(db)
            await client.wait(second, 20)
            await client.set_queue_events("default", False)
            await wait_until_async(lambda: not worker.completer.writer.announced, message="and that it is over")
            await client.wait(insert_task(db), 20)
        assert [event["id"] for event in ear.now()] == [second]


async def test_a_fenced_outcome_is_not_told(dsn: str) -> None:
    with database(dsn) as db, told(dsn, "default") as ear:
        insert_task(db)
        async with engine(dsn) as one:
            await announcing(one)
            await one.claim()
            steal_leases(db)
            second = insert_task(db)
            await one.claim()
            await one.run()
        assert [event["id"] for event in ear.now()] == [second]


async def test_an_event_is_told_if_and_only_if_the_outcome_is_written(dsn: str) -> None:
    with database(dsn) as db, told(dsn, "default") as ear:
        task_id = insert_task(db)
        async with engine(dsn) as one:
            await announcing(one)
            await one.claim()
            one.worker.executor.feed()
            await one.finished()
            db.execute("alter table pgsched.executions rename to away")
            await one.completer.run_once()
            assert ear.now() == []
            assert task_row(db, task_id)["status"] == "running"
            db.execute("alter table pgsched.away rename to executions")
            one.completer.try_all()
            await one.completer.run_once()
        assert [event["event"] for event in ear.now()] == ["completed"]
        assert task_row(db, task_id)["status"] == "completed"


async def test_a_transactional_handler_s_outcome_is_told_with_its_commit(dsn: str) -> None:
    app, seen = App(), list[tuple[str, int]]()

    @app.on("completed")
    def note(event: Event) -> None:
        seen.append((event.event, event.id))

    @app.task("good", transactional=True)
    async def good(ctx: Context) -> int:
        await ctx.connection.execute("select 1")
        return 1

    @app.task("bad", transactional=True)
    def bad(ctx: Context) -> None:
        ctx.connection.execute("select 1")
        raise ValueError("no luck")

    with database(dsn) as db, told(dsn, "default") as ear:
        ids = [insert_task(db, "good"), insert_task(db, "bad")]
        async with engine(dsn, app.registry, hooks=app.hooks) as one:
            assert one.worker.hook_dispatcher is not None
            one.worker.hook_dispatcher.start()
            await announcing(one)
            await one.claim()
            one.worker.executor.feed()
            await one.finished()  # of the one that failed
            await one.completer.run_once()
            await wait_until_async(lambda: not len(one.leased_tasks), message="both are written")
            await one.worker.hook_dispatcher.stop(5)
        events = sorted((event["id"], event["event"]) for event in ear.now())
    assert events == [(ids[0], "completed"), (ids[1], "failed")]
    assert seen == [("completed", ids[0])]


async def test_what_is_only_planned_is_not_told_and_a_tick_is(dsn: str) -> None:
    with database(dsn) as db, told(dsn, "default") as ear:
        insert_task(db, repeat_interval="1 hour")
        async with engine(dsn) as one:
            await announcing(one)
            assert ear.now() == []
            await one.work()
        assert [event["event"] for event in ear.now()] == ["completed"]


async def test_a_cancel_is_told_in_every_status(dsn: str) -> None:
    with database(dsn) as db, told(dsn, "default") as ear:
        pending, running, silent = insert_task(db), insert_task(db), insert_task(db, queue="silent")
        blocked = insert_task(db, depends_on=[silent])
        db.execute("update pgsched.tasks set next_run_at = now() + interval '1 hour' where id = %s", (pending,))
        async with engine(dsn) as one:
            assert [task.id for task in await one.claim()] == [running]
            for task_id in (pending, running, blocked, silent):
                db.execute("select pgsched.cancel(%s)", (task_id,))
        events = ear.now()
        assert [(event["event"], event["id"], event["attempt"]) for event in events] == [
            ("cancelled", pending, 0),
            ("cancelled", running, 1),
            ("cancelled", blocked, 0),
        ]
        assert [event["duration"] is not None for event in events] == [False, True, False]
        assert events[0].keys() == {"event", "id", "task_type", "queue", "attempt", "at", "duration", "error"}
        statuses = [task_row(db, task_id)["status"] for task_id in (pending, running, blocked, silent)]
        assert statuses == ["cancelled"] * 4
        assert [run["status"] for run in history(db, running)] == ["cancelled"]


@pytest.mark.parametrize("letter", ["x", "ä", "\U0001f600", "\x01", '"', "\\"])
def test_an_event_always_fits_into_a_notification(letter: str) -> None:
    event = Event(
        event="completed",
        id=2**63 - 1,
        task_type=letter * 200,
        queue=letter * 100,
        attempt=1000,
        error=letter * 20_000,
        duration=1e9 / 3,
        at=NOW,
    )
    assert len(event.announcement().encode()) < 8000


def test_a_name_of_a_queue_that_makes_no_sense_is_refused(dsn: str) -> None:
    ended = pgsched("queue", "events", "a\nb", "on", dsn=dsn)
    assert (ended.code, ended.error) == (1, "queue must not contain control characters")
    assert pgsched("queue", "events", "mail", "maybe", dsn=dsn).code == 2


# The command.


def test_the_command_follows_events(dsn: str, run_pgsched: PgschedRunner) -> None:
    (run_pgsched.folder / "mod.py").write_text(
        "from pgsched import App\napp = App()\n\n@app.task('greet')\ndef greet(): return 1\n"
        "\n@app.task('fail', max_attempts=1)\ndef fail(): raise ValueError('no luck')\n"
    )
    assert pgsched("queue", "events", "default", "on", dsn=dsn).stdout == "queue default: events on\n"
    people = run_pgsched("event", "follow")
    programs = run_pgsched("event", "follow", "--json", "--type", "fail", "--count", "1")
    elsewhere = run_pgsched("event", "follow", "--queue", "other")
    people.wait_for_output("listening")
    elsewhere.wait_for_output("listening")
    with database(dsn) as db:
        wait_until(
            lambda: len(_followers(db)) == 3,
            message="all of them listen",
        )
        worker = run_pgsched("worker", "--app", "mod:app")
        worker.wait_for_output("worker_started")
        greet, fail = insert_task(db, "greet"), insert_task(db, "fail", max_attempts=1)
        assert programs.wait() == 0
        event = json.loads(programs.stdout)
        assert (event["event"], event["id"], event["error"]) == ("dead", fail, "ValueError: no luck")
        people.wait_for_output(rf"completed  greet  task {greet}  attempt 1  queue default  \d+ ms\n")
        people.wait_for_output(rf"dead  fail  task {fail}  attempt 1  queue default  \d+ ms  ValueError: no luck\n")
        # A connection that breaks is opened again.
        db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where application_name = 'pgsched events' and datname = current_database()"
        )
        people.wait_for_output("events are missed until the connection is restored")
        wait_until(lambda: len(_followers(db)) == 2, message="both listen again")
        again = insert_task(db, "greet")
        people.wait_for_output(f"task {again}  ")
    people.signal(signal.SIGINT)
    assert people.wait() == 130
    assert elsewhere.stdout == ""


def _followers(db: psycopg.Connection[dict[str, Any]]) -> list[Any]:
    return db.execute(
        "select from pg_stat_activity where datname = current_database() and application_name = 'pgsched events'"
        " and query like 'listen%'"
    ).fetchall()


def test_the_command_without_a_schema_says_what_to_do(empty_dsn: str) -> None:
    ended = pgsched("event", "follow", dsn=empty_dsn)
    assert (ended.code, ended.error) == (1, "the database has no pgsched schema: run 'pgsched migrate'")


async def test_nothing_is_sent_for_queues_without_events(dsn: str) -> None:
    with database(dsn) as db:
        insert_task(db)
        async with engine(dsn, handlers(mail=nothing)) as one:
            await announcing(one)
            assert one.completer.writer.announced == frozenset()
            await one.claim()
            one.worker.executor.feed()
            await one.finished()
            assert one.completer.writer.announcements(one.completer._pending) == []
            await one.run()
