"""``on_conflict="update"``: a known task is changed to what is given, and what became of it is said."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import App, AsyncClient, Client, InvalidTask, TaskSpec, TransitionRefused
from pgsched.domain.scheduled import Scheduled
from tests.support.commands import pgsched
from tests.support.engine import rows
from tests.support.tables import database, set_completed, set_dead, task_row
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
API = "/api/v1"


def put(client: Client, payload: dict[str, Any] | None = None, *, key: str = "k", **options: Any) -> Scheduled:
    return client.schedule("digest", payload, idempotency_key=key, on_conflict="update", **options)


def sql_upsert(db: Database, **task: Any) -> tuple[int, str]:
    (row,) = rows(db, "select * from pgsched.upsert(%s)", json.dumps(task))
    return row["id"], row["outcome"]


# What becomes of it.


def test_a_schedule_is_created_then_unchanged_then_updated(client: Client, db: Database) -> None:
    made = [put(client, {"a": 1}, cron=cron, priority=7) for cron in ("0 8 * * *", "0 8 * * *", "0 9 * * mon")]
    assert [one.outcome for one in made] == ["created", "unchanged", "updated"]
    assert len(set(made)) == 1
    row = task_row(db, made[0])
    assert (row["cron_expression"], row["payload"], row["priority"]) == ("0 9 * * mon", {"a": 1}, 7)


def test_nothing_is_written_when_nothing_changes(client: Client, db: Database) -> None:
    options: Any = {"cron": "0 8 * * *", "timezone": "Europe/Berlin", "tags": ["a"], "jitter": "5m", "timeout": "1h"}
    task_id = put(client, {"a": 1}, **options)
    before = rows(db, "select *, xmin from pgsched.tasks")
    assert put(client, {"a": 1}, **options).outcome == "unchanged"
    assert rows(db, "select *, xmin from pgsched.tasks where id = %s", task_id) == before


def test_what_is_left_out_stays(client: Client, db: Database) -> None:
    task_id = put(client, {"a": 1}, cron="0 8 * * *", max_attempts=7, name="mine")
    client.disable(task_id)
    assert put(client, cron="0 9 * * *").outcome == "updated"
    row = task_row(db, task_id)
    assert (row["payload"], row["max_attempts"], row["task_name"], row["enabled"]) == ({"a": 1}, 7, "mine", False)


def test_a_day_and_24_hours_are_not_the_same(client: Client, db: Database) -> None:
    put(client, every="1d")
    assert put(client, every="24h").outcome == "updated"
    (row,) = rows(db, "select repeat_interval::text as every from pgsched.tasks")
    assert row["every"] == "24:00:00"


def test_a_cron_expression_takes_the_place_of_an_interval_and_back(client: Client, db: Database) -> None:
    task_id = put(client, every="2h", times=3)
    assert put(client, cron="0 8 * * *").outcome == "updated"
    row = task_row(db, task_id)
    assert (row["schedule_type"], row["repeat_interval"], row["repeat_count"]) == ("recurring", None, None)
    assert put(client, every="3h").outcome == "updated"
    assert task_row(db, task_id)["cron_expression"] is None


def test_a_one_time_task_that_waits_is_moved(client: Client, db: Database) -> None:
    at = datetime(2040, 1, 1, tzinfo=UTC)
    task_id = put(client, at=at)
    assert put(client, at=at).outcome == "unchanged"
    assert put(client, at=at + timedelta(days=1)).outcome == "updated"
    assert task_row(db, task_id)["next_run_at"] == at + timedelta(days=1)
    assert put(client, delay="1h").outcome == "updated"
    assert task_row(db, task_id)["next_run_at"] < at


def test_without_on_conflict_a_known_task_stays(client: Client, db: Database) -> None:
    task_id = put(client, cron="0 8 * * *")
    again = client.schedule("digest", idempotency_key="k", cron="0 9 * * *")
    assert (again, again.outcome, again.differs) == (task_id, "existing", ("cron",))
    assert task_row(db, task_id)["cron_expression"] == "0 8 * * *"


def test_a_schedule_that_has_ended_lives_again(client: Client, db: Database) -> None:
    task_id = put(client, every="1h", times=2)
    set_completed(db, task_id)
    assert put(client, every="1h").outcome == "unchanged"
    assert put(client, every="2h").outcome == "updated"
    assert task_row(db, task_id)["status"] == "pending"


# What is refused.


def test_without_a_key_it_is_refused(client: Client, db: Database) -> None:
    with pytest.raises(InvalidTask, match="needs an idempotency_key, and a task 'digest' has none"):
        client.schedule("digest", on_conflict="update")
    with pytest.raises(InvalidTask, match="on_conflict must be one of return, keep, update, replace, raise, got"):
        client.schedule("digest", idempotency_key="k", on_conflict="merge")  # type: ignore[arg-type]
    assert rows(db, "select from pgsched.tasks") == []


@pytest.mark.parametrize(
    ("status", "options"), [("completed", {"priority": 1}), ("dead", {"priority": 1}), ("cancelled", {})]
)
def test_a_task_that_is_over_is_refused(client: Client, db: Database, status: str, options: dict[str, Any]) -> None:
    task_id = put(client)
    {"completed": set_completed, "dead": set_dead, "cancelled": lambda _, one: client.cancel(one)}[status](db, task_id)
    with pytest.raises(TransitionRefused, match=f"task {task_id} has the idempotency_key k, and is {status}"):
        put(client, **options)


def test_a_cancelled_schedule_is_refused_for_nothing_would_run(client: Client) -> None:
    client.cancel(put(client, cron="0 8 * * *"))
    with pytest.raises(TransitionRefused, match="is cancelled: it cannot be changed"):
        put(client, cron="0 8 * * *")


def test_the_key_of_another_type_is_refused(client: Client) -> None:
    task_id = put(client)
    with pytest.raises(InvalidTask, match=f"task {task_id} has the idempotency_key k, and its task_type is digest"):
        client.schedule("other", idempotency_key="k", on_conflict="update")


def test_a_time_for_a_schedule_is_refused(client: Client) -> None:
    put(client, cron="0 8 * * *")
    with pytest.raises(TransitionRefused, match="run_at and delay are for one-time tasks"):
        put(client, delay="1h")


def test_what_an_insert_refuses_is_refused_and_changes_nothing(client: Client, db: Database) -> None:
    task_id = put(client, cron="0 8 * * *")
    put(client, start=datetime(2041, 1, 1, tzinfo=UTC))
    with pytest.raises(InvalidTask, match="end_date"):
        put(client, end=datetime(2040, 1, 1, tzinfo=UTC))
    assert task_row(db, task_id)["end_date"] is None


# Each face.


async def test_async_and_many(dsn: str) -> None:
    client = AsyncClient(dsn)
    specs = [TaskSpec(task_type="digest", idempotency_key=key, cron="0 8 * * *") for key in ("b", "a", "b")]
    first = await client.schedule_many(specs, on_conflict="update")
    assert [one.outcome for one in first] == ["created", "created", "unchanged"]
    assert first[0] == first[2] != first[1]
    specs[1] = TaskSpec(task_type="digest", idempotency_key="a", cron="0 9 * * *")
    assert [one.outcome for one in await client.schedule_many(specs, on_conflict="update")] == [
        "unchanged",
        "updated",
        "unchanged",
    ]
    one = await client.schedule("digest", idempotency_key="a", priority=9, on_conflict="update")
    assert one.outcome == "updated"
    await client.close()


def test_many_are_changed_all_or_none(client: Client, db: Database) -> None:
    put(client, key="a", priority=5)
    client.cancel(put(client, key="b"))
    with pytest.raises(TransitionRefused):
        client.schedule_many(
            [TaskSpec(task_type="digest", idempotency_key=key, priority=1) for key in "ab"], on_conflict="update"
        )
    assert rows(db, "select priority from pgsched.tasks where idempotency_key = 'a'") == [{"priority": 5}]
    assert client.schedule_many([], on_conflict="update") == []


def test_a_handle_and_the_callers_own_transaction(dsn: str, db: Database) -> None:
    app = App(dsn=dsn)

    @app.task("digest", max_attempts=7)
    def digest(on_conflict: str = "") -> None: ...

    with psycopg.connect(dsn) as connection:
        made = digest.schedule(
            idempotency_key="k", cron="0 8 * * *", on_conflict="update", connection=connection, payload={}
        )
        assert (made.outcome, rows(db, "select from pgsched.tasks")) == ("created", [])
    assert task_row(db, made)["max_attempts"] == 7
    app.close()


def test_sql(db: Database) -> None:
    task: dict[str, Any] = {
        "task_type": "digest",
        "idempotency_key": "k",
        "repeat_interval": "2 hours",
        "payload": {"a": 1},
    }
    task_id, outcome = sql_upsert(db, **task)
    assert outcome == "created"
    assert sql_upsert(db, **task) == (task_id, "unchanged")
    assert sql_upsert(db, **task | {"timeout": "5 minutes"}) == (task_id, "updated")
    assert sql_upsert(db, **task | {"timeout": None}) == (task_id, "updated")
    assert task_row(db, task_id)["timeout"] is None
    assert sql_upsert(db, task_type="mail", idempotency_key="m", delay="1 hour")[1] == "created"


@pytest.mark.parametrize(
    ("task", "words"),
    [
        ("[]", "a task must be a JSON object"),
        ('"digest"', "a task must be a JSON object"),
        ("{}", "task_type must be given"),
        ('{"task_type": "a"}', "idempotency_key must be given"),
        ('{"task_type": "a", "idempotency_key": "k", "status": "dead"}', "status is no argument of pgsched.schedule"),
        ('{"task_type": "a", "idempotency_key": "k", "run_at": "2040-01-01", "delay": "1s"}', "exclude each other"),
        (
            '{"task_type": "a", "idempotency_key": "k", "run_at": "2040-01-01", "cron_expression": "0 8 * * *"}',
            "run_at and delay are for one-time tasks",
        ),
        (
            '{"task_type": "a", "idempotency_key": "k", "repeat_interval": "1h", "cron_expression": "0 8 * * *"}',
            "cron_expression",
        ),
    ],
)
def test_sql_refuses_what_makes_no_sense(db: Database, task: str, words: str) -> None:
    with pytest.raises(psycopg.Error, match=words):
        rows(db, "select * from pgsched.upsert(%s)", task)


async def test_rest(dsn: str) -> None:
    body: dict[str, Any] = {"task_type": "digest", "idempotency_key": "k", "cron_expression": "0 8 * * *"}
    async with web(dsn) as http:
        answers = [
            await http.post(f"{API}/tasks?on_conflict=update", json=body | {"priority": priority})
            for priority in (5, 5, 9)
        ]
        assert [(one.status_code, one.headers["Pgsched-Outcome"]) for one in answers] == [
            (201, "created"),
            (200, "unchanged"),
            (200, "updated"),
        ]
        assert answers[2].json()["priority"] == 9
        kept = await http.post(f"{API}/tasks", json=body | {"priority": 1})
        assert (kept.headers["Pgsched-Outcome"], kept.json()["priority"]) == ("existing", 9)
        wrong = await http.post(f"{API}/tasks?on_conflict=merge", json=body)
        assert wrong.status_code == 422
    with database(dsn) as db:
        noted = rows(db, "select action, before, after from pgsched.audit_log order by id")
    assert [one["action"] for one in noted] == ["task.create", "task.update"]
    assert (noted[1]["before"], noted[1]["after"]) == ({"priority": 5}, {"priority": 9})


def test_command_line(dsn: str) -> None:
    def add(*options: str) -> str:
        ended = pgsched("task", "add", "digest", "--key", "k", "--on-conflict", "update", *options, dsn=dsn)
        assert (ended.code, ended.stderr) == (0, "")
        return ended.stdout

    assert add("--cron", "0 8 * * *") == "1 created\n"
    assert add("--cron", "0 8 * * *") == "1 unchanged\n"
    assert json.loads(add("--cron", "0 9 * * *", "--json"))["outcome"] == "updated"


# Who comes first.


def test_of_many_at_once_one_creates(dsn: str, db: Database) -> None:
    outcomes: list[str] = []

    def one(at: int) -> None:
        with database(dsn) as connection:
            outcomes.append(sql_upsert(connection, task_type="digest", idempotency_key="k", priority=at)[1])

    threads = [threading.Thread(target=one, args=(at % 2 + 1,)) for at in range(8)]
    run: Callable[[threading.Thread], None]
    for run in (threading.Thread.start, threading.Thread.join):
        for thread in threads:
            run(thread)
    assert len(outcomes) == 8
    assert outcomes.count("created") == 1
    assert len(rows(db, "select from pgsched.tasks")) == 1
