"""Settings of queues: from SQL, Python and the command line; and how workers hear of them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from pgsched.client.async_client import AsyncClient
from pgsched.client.client import Client
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from tests.support.commands import pgsched
from tests.support.engine import engine, handlers, rows, running_worker
from tests.support.tables import add_worker, database, insert_task, task_row
from tests.support.waiting import wait_until_async

Database = psycopg.Connection[dict[str, Any]]


def limits(db: Database, queue: str = "mail") -> Any:
    (row,) = rows(db, "select limits from pgsched.queues where name = %s", queue)
    return row["limits"]


# SQL.


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("concurrency => 3", {"concurrency": 3}),
        ("concurrency_per_key => 2, per => '1 hour'", {"concurrency_per_key": 2}),
        ("rate => 100", {"rate": 100, "per": "00:00:01"}),
        ("rate_per_key => 10, per => '1 minute'", {"rate_per_key": 10, "per": "00:01:00"}),
    ],
)
def test_limits_are_set_by_a_function(db: Database, given: str, kept: dict[str, Any]) -> None:
    db.execute(f"select pgsched.limit_queue('mail', {given})")
    assert limits(db) == kept
    assert rows(db, "select pgsched.unlimit_queue('mail') as had") == [{"had": True}]
    assert rows(db, "select pgsched.unlimit_queue('mail') as had") == [{"had": False}]
    assert limits(db) == {}


def test_limits_take_the_place_of_those_before(db: Database) -> None:
    db.execute("select pgsched.limit_queue('mail', concurrency => 3, rate => 5)")
    db.execute("select pgsched.limit_queue('mail', concurrency_per_key => 1)")
    assert limits(db) == {"concurrency_per_key": 1}


@pytest.mark.parametrize(
    ("value", "problem"),
    [
        ("[]", 'must be a JSON object, as {"concurrency": 3}'),
        ('{"concurrency": 0}', "concurrency must be a whole number between 1 and 1000000, got 0"),
        ('{"concurrency": 1.5}', "concurrency must be a whole number between 1 and 1000000, got 1.5"),
        ('{"rate": "10"}', 'rate must be a whole number between 1 and 1000000, got "10"'),
        ('{"rate": 10000000}', "rate must be a whole number between 1 and 1000000, got 10000000"),
        ('{"rate": 5, "per": "soon"}', 'per must be an interval, as "1 second", got "soon"'),
        ('{"rate": 5, "per": "1 year"}', 'per must be between 100 milliseconds and 31 days, got "1 year"'),
        ('{"rate": 5, "per": 1}', "per must be between 100 milliseconds and 31 days, got 1"),
        ('{"concurrency": 5, "per": "1s"}', "per is the time of a rate: it needs rate or rate_per_key"),
        ('{"speed": 5}', "'speed' is no limit; there are concurrency, concurrency_per_key, rate, rate_per_key and per"),
    ],
)
def test_limits_that_make_no_sense_are_refused_by_name(db: Database, value: str, problem: str) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match=re.escape(f"limits of queue 'mail': {problem}")):
        db.execute("insert into pgsched.queues (name, limits) values ('mail', %s)", (value,))


def test_a_function_call_without_a_limit_is_refused(db: Database) -> None:
    with pytest.raises(psycopg.errors.InvalidParameterValue, match="give one at least"):
        db.execute("select pgsched.limit_queue('mail')")


@pytest.mark.parametrize(
    ("columns", "constraint"),
    [
        ("ageing = '0'", "ageing_must_be_between_1_second_and_1000_years"),
        ("ageing = '1 hour', ordering = 'lifo'", "ageing_needs_the_ordering_fifo"),
    ],
)
def test_ageing_that_makes_no_sense_is_refused(db: Database, columns: str, constraint: str) -> None:
    db.execute("insert into pgsched.queues (name) values ('mail')")
    with pytest.raises(psycopg.errors.CheckViolation, match=constraint):
        db.execute(f"update pgsched.queues set {columns}")


def test_a_queue_without_limits_and_ageing_is_claimed_with_the_others(db: Database) -> None:
    db.execute("insert into pgsched.queues (name, ordering, paused) values ('mail', 'lifo', true)")
    assert rows(db, "select apart from pgsched.queues") == [{"apart": False}]


# Python.


def test_a_client_limits_a_queue(client: Client, db: Database) -> None:
    client.limit_queue("mail", concurrency=3, concurrency_per_key=2, rate=100, rate_per_key=10, per="1m")
    assert limits(db) == {
        "concurrency": 3,
        "concurrency_per_key": 2,
        "rate": 100,
        "rate_per_key": 10,
        "per": "00:01:00",
    }
    (queue,) = client.queues()
    assert queue.limits == limits(db)
    client.limit_queue("mail", rate=5, per=timedelta(seconds=2))
    assert limits(db) == {"rate": 5, "per": "00:00:02"}
    assert client.unlimit_queue("mail")
    assert not client.unlimit_queue("mail")


async def test_a_client_of_an_event_loop_does_too(dsn: str, db: Database) -> None:
    async with AsyncClient(dsn) as client:
        await client.limit_queue("mail", concurrency=3)
        assert limits(db) == {"concurrency": 3}
        await client.set_queue("mail", ageing="10m")
        assert (await client.queues())[0].ageing == Interval(microseconds=600_000_000)
        assert await client.unlimit_queue("mail")


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({}, "limits of queue 'mail': give one at least; unlimit_queue takes them away"),
        ({"concurrency": 0}, "limits of queue 'mail': concurrency must be a whole number between 1 and 1000000, got 0"),
        ({"rate": 2**70}, "rate must be a whole number between 1 and 1000000"),
        ({"rate": "5"}, "rate must be a whole number"),
        ({"rate": True}, "rate must be a whole number"),
        ({"rate": 5, "per": "soon"}, "per: interval"),
        ({"rate": 5, "per": 0}, "per must be between 100 milliseconds and 31 days"),
        ({"concurrency": 5, "per": 1}, "per is the time of a rate"),
        ({"speed": 5}, "'speed' is no limit"),
    ],
)
def test_a_client_refuses_limits_that_make_no_sense(client: Client, given: dict[str, Any], problem: str) -> None:
    with pytest.raises(InvalidTask, match=re.escape(problem)):
        client.limit_queue("mail", **given)


def test_a_client_sets_a_queue_up(client: Client) -> None:
    client.set_queue("mail", ageing="10m")
    client.set_queue("mail", ordering="fifo")
    (queue,) = client.queues()
    assert (queue.ordering, queue.ageing) == ("fifo", Interval(microseconds=600_000_000))
    client.set_queue("mail", ageing=None, ordering="lifo")
    (queue,) = client.queues()
    assert (queue.ordering, queue.ageing) == ("lifo", None)
    with pytest.raises(InvalidTask, match="ageing needs the ordering fifo"):
        client.set_queue("mail", ageing=60)
    with pytest.raises(InvalidTask, match="ageing must be between 1 second and 1000 years"):
        client.set_queue("other", ageing=0.5)
    with pytest.raises(InvalidTask, match="ordering must be one of fifo, lifo, got 'random'"):
        client.set_queue("mail", ordering="random")
    with pytest.raises(InvalidTask, match="nothing to change"):
        client.set_queue("mail")


# The command line.


def test_the_command_line_limits_a_queue(dsn: str) -> None:
    limited = pgsched(
        "queue", "limit", "mail", "--concurrency", 3, "--per-key", 2, "--rate", 100, "--rate-per-key", 10, dsn=dsn
    )
    assert limited.stdout == (
        "queue mail: 3 at once, 2 at once per key, 100 starts in 00:00:01, 10 starts in 00:00:01 per key\n"
    )
    assert "3 at once, 2 at once per key" in pgsched("queue", "list", dsn=dsn).stdout
    (shown,) = pgsched("queue", "list", "--json", dsn=dsn).json()
    assert shown["limits"] == {
        "concurrency": 3,
        "concurrency_per_key": 2,
        "rate": 100,
        "rate_per_key": 10,
        "per": "00:00:01",
    }
    assert pgsched("queue", "limit", "mail", "--none", dsn=dsn).stdout == "queue mail: no limits\n"
    assert pgsched("queue", "list", "--json", dsn=dsn).json()[0]["limits"] == {}


def test_the_command_line_sets_a_queue_up(dsn: str) -> None:
    assert pgsched("queue", "set", "mail", "--ageing", "10m", dsn=dsn).stdout == "queue mail: fifo, ageing 10m\n"
    assert pgsched("queue", "set", "mail", "--ageing", "none", dsn=dsn).stdout == "queue mail: fifo\n"
    assert pgsched("queue", "set", "mail", "--ordering", "lifo", dsn=dsn).stdout == "queue mail: lifo\n"


@pytest.mark.parametrize(
    ("arguments", "code", "problem"),
    [
        (["limit", "mail"], 2, "Give --concurrency, --per-key, --rate, --rate-per-key or --none"),
        (["limit", "mail", "--per", "1m"], 2, "Give --concurrency"),
        (["limit", "mail", "--none", "--rate", 5], 2, "--none excludes the other options"),
        (["limit", "mail", "--rate", 0], 2, "0 is not in the range"),
        (["limit", "mail", "--rate", 5, "--per", "soon"], 1, 'per: interval "soon"'),
        (["limit", "mail", "--concurrency", 5, "--per", "1m"], 1, "per is the time of a rate"),
        (["set", "mail"], 2, "Give at least one setting"),
        (["set", "mail", "--ageing", "soon"], 1, 'ageing: interval "soon"'),
    ],
)
def test_the_command_line_refuses_what_makes_no_sense(
    dsn: str, arguments: list[object], code: int, problem: str
) -> None:
    ended = pgsched("queue", *arguments, dsn=dsn)
    assert ended.code == code
    assert problem in ended.error


@pytest.mark.parametrize("queue", ["mail:0", "mail@0", ""])
def test_a_worker_refuses_a_queue_that_makes_no_sense(queue: str, dsn: str) -> None:
    ended = pgsched("worker", "--app", "pgsched.demo:app", "--queue", queue, dsn=dsn)
    assert ended.code == 2
    assert "queue" in ended.error


async def test_patterns_of_a_worker_are_shown(dsn: str) -> None:
    async with engine(dsn, queues=("mail", "tenant.*:5")) as one:
        one.worker.heartbeat.run_once()
        listed = pgsched("worker", "list", dsn=dsn).stdout
        (shown,) = pgsched("worker", "list", "--json", dsn=dsn).json()
    assert "mail, tenant.*" in listed
    assert (shown["queues"], shown["patterns"]) == (["mail"], ["tenant.%"])


# Who is told.


@pytest.fixture
def ear(dsn: str) -> Iterator[Database]:
    with database(dsn) as connection:
        connection.execute("listen pgsched")
        connection.execute("listen pgsched_queues")
        yield connection


def calls(ear: Database) -> list[tuple[str, str]]:
    ear.execute("select 1")
    return [(notify.channel, notify.payload) for notify in ear.notifies(timeout=0)]


@pytest.mark.parametrize(
    "change",
    [
        "select pgsched.limit_queue('mail', concurrency => 3)",
        "update pgsched.queues set limits = '{\"rate\": 3}'",
        "update pgsched.queues set ageing = '1 hour'",
        "delete from pgsched.queues",
    ],
)
def test_workers_are_told_when_a_queue_changes(db: Database, ear: Database, change: str) -> None:
    db.execute("insert into pgsched.queues (name) values ('mail')")
    calls(ear)
    db.execute(change)
    assert calls(ear) == [("pgsched_queues", "mail")]


def sleeper(db: Database, *, patterns: list[str]) -> None:
    add_worker(db, queues=[], task_types=["mail"])
    db.execute("update pgsched.workers set sleeping_until = now() + interval '1 hour', patterns = %s", (patterns,))


@pytest.mark.parametrize(
    "change", ["", "select pgsched.run_now(1)", "update pgsched.tasks set next_run_at = now() - interval '1 second'"]
)
def test_a_worker_with_a_matching_pattern_is_called(db: Database, ear: Database, change: str) -> None:
    sleeper(db, patterns=["tenant.%"])
    insert_task(db, queue="tenant.a", scheduled_for="2100-01-01" if change else None)
    if change:
        assert calls(ear) == []
        db.execute(change)
    assert calls(ear) == [("pgsched", "tenant.a")]


def test_a_worker_with_another_pattern_is_not_called(db: Database, ear: Database) -> None:
    sleeper(db, patterns=["tenant.%"])
    insert_task(db, queue="other")
    assert calls(ear) == []


def test_what_a_pattern_serves_is_not_unhandled(client: Client, db: Database) -> None:
    sleeper(db, patterns=["tenant.%"])
    insert_task(db, queue="tenant.a")
    insert_task(db, queue="other")
    assert [one.queue for one in client.stats().unhandled] == ["other"]


# Workers.


async def test_a_sleeping_worker_runs_what_comes_into_a_new_queue_of_its_pattern(dsn: str, db: Database) -> None:
    async with running_worker(dsn, queues=("tenant.*",), poll_interval=3600) as worker:
        await wait_until_async(lambda: worker.counts.listener_connected, message="it listens")
        await wait_until_async(
            lambda: rows(db, "select from pgsched.workers where sleeping_until > now()"), message="it sleeps"
        )
        task_id = insert_task(db, queue="tenant.new")
        await wait_until_async(lambda: task_row(db, task_id)["status"] == "completed", message="it ran")


async def test_a_worker_hears_of_limits_and_of_their_end(dsn: str, db: Database) -> None:
    gate = asyncio.Event()

    async def gated() -> None:
        await gate.wait()

    def running() -> int:
        return int(rows(db, "select count(*) as n from pgsched.tasks where status = 'running'")[0]["n"])

    db.execute("select pgsched.limit_queue('default', concurrency => 2)")
    db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 12)")
    async with running_worker(dsn, handlers(mail=gated), poll_interval=3600) as worker:
        await wait_until_async(lambda: worker.counts.listener_connected and running() == 2, message="two run")
        db.execute("select pgsched.limit_queue('default', concurrency => 5)")
        await wait_until_async(lambda: running() == 5, message="five run")
        db.execute("select pgsched.unlimit_queue('default')")
        await wait_until_async(lambda: running() == 12, message="all run")
        gate.set()


@pytest.mark.parametrize("limits", ["concurrency => 2", "rate => 500"])
async def test_a_queue_with_limits_runs_beside_a_backlog_that_keeps_every_slot_busy(
    dsn: str, db: Database, limits: str
) -> None:
    async def brief() -> None:
        await asyncio.sleep(0.005)

    db.execute(f"select pgsched.limit_queue('limited', {limits})")
    db.execute("insert into pgsched.tasks (task_type, queue) select 'mail', 'plain' from generate_series(1, 4000)")

    def left(queue: str) -> int:
        found = rows(db, "select count(*) as n from pgsched.tasks where next_run_at is not null and queue = %s", queue)
        return int(found[0]["n"])

    async with running_worker(dsn, handlers(mail=brief), queues=("plain", "limited"), concurrency=4):
        await wait_until_async(lambda: left("plain") < 3900, message="the backlog is worked on")
        db.execute("insert into pgsched.tasks (task_type, queue) select 'mail', 'limited' from generate_series(1, 20)")
        await wait_until_async(lambda: left("limited") == 0, message="the limited tasks have run")
        assert left("plain") > 0, "the backlog was over: the test shows nothing"


async def test_the_next_task_of_a_queue_with_limits_is_claimed_with_the_end_of_the_last(dsn: str, db: Database) -> None:
    db.execute("select pgsched.limit_queue('default', concurrency => 1)")
    ids = [insert_task(db) for _ in range(3)]
    async with engine(dsn) as one:
        assert [task.id for task in await one.claim()] == ids[:1]
        await one.run()  # nothing else claims
    assert [task_row(db, task_id)["status"] for task_id in ids] == ["completed"] * 3


async def test_a_finish_is_written_though_the_claim_with_it_fails(dsn: str, db: Database) -> None:
    db.execute("select pgsched.limit_queue('default', concurrency => 1)")
    ids = [insert_task(db) for _ in range(2)]
    async with engine(dsn) as one:
        await one.claim()
        db.execute("alter function pgsched.claim_limited rename to claim_elsewhere")
        one.worker.executor.feed()
        await one.finished()
        await one.completer.run_once()
        db.execute("alter function pgsched.claim_elsewhere rename to claim_limited")
        assert task_row(db, ids[0])["status"] == "completed"
        one.worker.limited_claims.look_after_end()
        assert [task.id for task in await one.claim()] == ids[1:]


async def test_tasks_of_a_queue_with_limits_complete_once_though_connections_are_cut(dsn: str, db: Database) -> None:
    async def brief() -> None:
        await asyncio.sleep(0.001)

    cut = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where application_name in ('pgsched claim', 'pgsched finish') and datname = current_database()"
    )
    db.execute("select pgsched.limit_queue('default', concurrency => 5, concurrency_per_key => 3)")
    db.execute(
        "insert into pgsched.tasks (task_type, max_attempts, concurrency_key)"
        " select 'mail', 100, (array['a', 'b', null])[1 + n % 3] from generate_series(1, 600) n"
    )

    def completed() -> int:
        return int(rows(db, "select count(*) as n from pgsched.tasks where status = 'completed'")[0]["n"])

    async with running_worker(dsn, handlers(mail=brief), poll_interval=0.2, lease=1) as worker:
        for number in (50, 150, 250, 350):
            await wait_until_async(lambda number=number: completed() >= number, message=f"{number} are completed")
            db.execute(cut)
        await wait_until_async(lambda: completed() == 600, message="all are completed")
        assert worker.counts.database_errors > 0
    assert rows(
        db,
        "select count(*) as runs, count(distinct task_id) as tasks from pgsched.executions where status = 'completed'",
    ) == [{"runs": 600, "tasks": 600}]


def test_a_start_that_came_late_counts_for_longer(db: Database) -> None:
    db.execute("select pgsched.limit_queue('mail', rate => 5)")
    db.execute(
        "insert into pgsched.starts (queue, key, since, at, number)"
        " values ('mail', '', date_trunc('second', now()), now(), 3)"
    )
    db.execute("select pgsched.note_late_start('mail', now(), 0.5)")
    assert rows(db, "select round(extract(epoch from at - since)::numeric, 1) >= 0.5 as later from pgsched.starts") == [
        {"later": True}
    ]
