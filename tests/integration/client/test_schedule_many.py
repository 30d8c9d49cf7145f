"""Many tasks in one call: by COPY, all or none."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from pgsched.client.client import Client
from pgsched.db.queries.bulk_insert import HEAD
from pgsched.domain.errors import InvalidTask, SchemaMismatch
from pgsched.domain.interval import Interval
from pgsched.domain.task_spec import TaskSpec
from tests.support.tables import task_row

Database = psycopg.Connection[dict[str, Any]]
LATER = datetime(2040, 1, 1, 12, tzinfo=UTC)
LAST_DAY = datetime(9999, 12, 31, 12, tzinfo=UTC)
"""Refused by the database, not by Python."""


def mail(**options: Any) -> TaskSpec:
    return TaskSpec(**{"task_type": "mail", **options})


def count_tasks(client: Client) -> int:
    return len(client.list_tasks(limit=10_000))


def test_ids_come_in_the_order_of_the_tasks(client: Client) -> None:
    specs = [mail(payload={"n": n}, **({"queue": "odd"} if n % 2 else {})) for n in range(10)]
    ids = client.schedule_many(specs)
    assert [client.get(task_id).payload["n"] for task_id in ids] == list(range(10))


def test_no_tasks_are_no_ids(client: Client) -> None:
    assert client.schedule_many([]) == []


def test_tasks_may_come_from_a_generator(client: Client) -> None:
    assert len(client.schedule_many(mail() for _ in range(3))) == 3


def test_a_long_generator_is_sent_while_it_is_read_whatever_its_tasks_need(client: Client, db: Database) -> None:
    kinds: list[dict[str, Any]] = [
        {},
        {},
        {"idempotency_key": "k"},
        {"delay": 3600},
        {"at": LATER},
        {"priority": 7},
        {},
    ]
    count = HEAD * 2 + 500

    def specs() -> Iterator[TaskSpec]:
        for n in range(count):
            kind = dict(kinds[n % len(kinds)])
            if "idempotency_key" in kind:
                kind["idempotency_key"] = f"key {n}"
            yield mail(payload={"n": n}, **kind)

    ids = client.schedule_many(specs())
    assert len(set(ids)) == count
    stored = {row["id"]: row for row in db.execute("select * from pgsched.tasks").fetchall()}
    assert [stored[task_id]["payload"]["n"] for task_id in ids] == list(range(count))
    for n, task_id in enumerate(ids):
        kind, row = kinds[n % len(kinds)], stored[task_id]
        assert (row["idempotency_key"] is not None) == ("idempotency_key" in kind)
        assert row["priority"] == kind.get("priority", 5)
        assert (row["scheduled_for"] == LATER) == ("at" in kind)


@pytest.mark.parametrize("bad", [{"priority": 99}, {"at": LAST_DAY}], ids=["by Python", "by the database"])
@pytest.mark.parametrize("place", [HEAD - 1, HEAD + 7])
def test_a_refused_task_of_a_long_generator_is_named_and_nothing_is_inserted(
    client: Client, bad: dict[str, Any], place: int
) -> None:
    usual: dict[str, Any] = {"at": LATER} if "at" in bad else {"priority": 5}
    specs = (mail(**(bad if n == place else usual)) for n in range(HEAD * 2))
    with pytest.raises(InvalidTask, match=f"task {place}: scheduled_for .*9999" if "at" in bad else "priority"):
        client.schedule_many(specs)
    assert count_tasks(client) == 0


@pytest.mark.parametrize("key", [None, "k"])
def test_every_option_reads_back_as_by_schedule(client: Client, key: str | None) -> None:
    options: dict[str, Any] = {
        "payload": {"text": "tab\t newline\n backslash\\ \\N ü"},
        "every": "1mo",
        "times": 3,
        "start": LATER,
        "end": LATER,
        "timezone": "Europe/Berlin",
        "queue": "letters",
        "priority": 9,
        "name": "\\N",
        "tags": ["a", "b,c", 'd"e', ""],
        "metadata": {"by": "hand"},
        "tenant_id": "t",
        "user_id": "u",
        "created_by": "c",
        "max_attempts": 7,
        "backoff": "linear",
        "backoff_delay": 2.5,
        "backoff_max": "1d",
        "backoff_factor": 5,
        "backoff_jitter": 0,
        "timeout": timedelta(minutes=1),
        "on_missed": "all",
        "catchup_window": "2h",
        "overlap": "allow",
        "jitter": 5,
        "enabled": False,
        "parent_id": 17,
        "concurrency_key": "tenant 7",
    }
    (by_copy,) = client.schedule_many([mail(**options, idempotency_key=key)])
    by_call = client.schedule("mail", **options)
    own = {"id", "idempotency_key", "next_run_at", "planned_from", "created_at", "updated_at"}

    def comparable(task_id: int) -> dict[str, Any]:
        return {name: value for name, value in client.get(task_id).as_dict().items() if name not in own}

    assert comparable(by_copy) == comparable(by_call)


def test_tasks_that_use_other_columns_have_the_table_s_defaults(client: Client) -> None:
    first, second, third = client.schedule_many([mail(priority=9), mail(timeout=5), mail()])
    assert [client.get(task_id).priority for task_id in (first, second, third)] == [9, 5, 5]
    assert [client.get(task_id).timeout for task_id in (first, second, third)] == [
        None,
        Interval(microseconds=5_000_000),
        None,
    ]


def test_delay_is_counted_from_the_database_s_now(client: Client, db: Database) -> None:
    ids = client.schedule_many([mail(delay=90), mail(delay="1d"), mail(at=LATER), mail(delay=90)])
    rows = [task_row(db, task_id) for task_id in ids]
    assert [row["scheduled_for"] - row["created_at"] for row in rows if row["scheduled_for"] != LATER] == [
        timedelta(seconds=90),
        timedelta(days=1),
        timedelta(seconds=90),
    ]


def test_delay_is_read_alike_whatever_the_session_s_styles(client: Client, dsn: str, db: Database) -> None:
    options = "-c datestyle=German -c intervalstyle=sql_standard -c timezone=Asia/Kolkata"
    with psycopg.connect(dsn, options=options, row_factory=dict_row) as connection:
        (task_id,) = client.schedule_many([mail(delay="1h", timeout="1mo")], connection=connection)
    row = task_row(db, task_id)
    assert row["scheduled_for"] - row["created_at"] == timedelta(hours=1)
    assert client.get(task_id).timeout == Interval(months=1)


# Idempotency keys.


def test_known_key_returns_the_existing_task(client: Client) -> None:
    known = client.schedule("mail", {"n": 0}, idempotency_key="b")
    ids = client.schedule_many([mail(payload={"n": 1}, idempotency_key=key) for key in "abc"])
    assert ids[1] == known
    assert [client.get(task_id).payload["n"] for task_id in ids] == [1, 0, 1]


def test_same_key_twice_is_one_task_the_first(client: Client) -> None:
    ids = client.schedule_many(
        [
            mail(payload={"n": 1}, idempotency_key="k"),
            mail(),
            mail(payload={"n": 2}, priority=9, idempotency_key="k"),
        ]
    )
    assert ids[0] == ids[2] != ids[1]
    assert client.get(ids[0]).payload == {"n": 1}
    assert count_tasks(client) == 2


def test_repeated_call_with_keys_inserts_nothing(client: Client) -> None:
    specs = [mail(idempotency_key=str(n), **({"priority": 9} if n % 2 else {})) for n in range(10)]
    assert client.schedule_many(specs) == client.schedule_many(specs)
    assert count_tasks(client) == 10


def test_two_calls_in_one_transaction_may_have_keys(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        first = client.schedule_many([mail(idempotency_key="k")], connection=connection)
        assert client.schedule_many([mail(idempotency_key="k")], connection=connection) == first


def test_calls_at_once_with_the_same_keys_agree(client: Client) -> None:
    specs = [mail(idempotency_key=str(n)) for n in range(200)]
    answers: list[list[int]] = []

    def call(order: int) -> None:
        answers.append(client.schedule_many(specs[::order])[::order])

    threads = [threading.Thread(target=call, args=(order,)) for order in (1, -1, 1, -1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert answers == [answers[0]] * 4
    assert count_tasks(client) == 200


# Refusals.


@pytest.mark.parametrize("key", [None, "k"])
def test_bad_task_refuses_the_call_by_place_and_rule(client: Client, key: str | None) -> None:
    specs = [mail(), mail(queue="other", idempotency_key=key), mail(at=LAST_DAY, idempotency_key=key and "l")]
    with pytest.raises(InvalidTask) as caught:
        client.schedule_many(specs)
    assert str(caught.value).startswith("task 2: scheduled_for must be between the years 1 and 9999")
    assert count_tasks(client) == 0


@pytest.mark.parametrize("key", [None, "k"])
def test_task_that_a_trigger_refuses_is_named_by_its_place(client: Client, db: Database, key: str | None) -> None:
    db.execute(
        """
        create function refuse() returns trigger language plpgsql as $$ begin
          raise invalid_parameter_value using message = 'cron_expression ''7 7 7 7 *'': has a problem',
            column = 'cron_expression', table = 'tasks', schema = 'pgsched';
        end $$;
        create trigger refuses before insert on pgsched.tasks for each row
        when (new.cron_expression = '7 7 7 7 *') execute function refuse()
        """
    )
    specs = [
        mail(cron="* * * * *", idempotency_key=key),
        mail(cron="7 7 7 7 *", idempotency_key=key and "l"),
    ]
    with pytest.raises(InvalidTask, match=r"^task 1: cron_expression '7 7 7 7 \*': has a problem$"):
        client.schedule_many(specs)
    assert count_tasks(client) == 0


def test_payload_is_in_no_error(client: Client) -> None:
    with pytest.raises(InvalidTask) as caught:
        client.schedule_many([mail(payload={"password": "hunter2"}, at=LAST_DAY)])
    assert "hunter2" not in str(caught.value)
    assert caught.value.__suppress_context__


def test_what_is_no_spec_is_a_type_error_before_anything_is_sent(client: Client) -> None:
    with pytest.raises(TypeError, match="task 1: must be a TaskSpec, got a dict"):
        client.schedule_many([mail(), {"task_type": "mail"}])  # type: ignore[list-item]
    assert count_tasks(client) == 0


def test_database_without_the_schema_says_what_to_do(empty_dsn: str) -> None:
    with psycopg.connect(empty_dsn) as connection, pytest.raises(SchemaMismatch, match="pgsched migrate"):
        Client(empty_dsn).schedule_many([mail()], connection=connection)


# In the caller's transaction.


def test_tasks_are_part_of_the_caller_s_transaction(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        client.schedule_many([mail(), mail(idempotency_key="k")], connection=connection)
        assert count_tasks(client) == 0
        connection.rollback()
    assert count_tasks(client) == 0


def test_connection_in_autocommit_mode_takes_all_or_none(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn, autocommit=True) as connection:
        with pytest.raises(InvalidTask):
            client.schedule_many([mail(), mail(queue="other", at=LAST_DAY)], connection=connection)
        assert count_tasks(client) == 0
        client.schedule_many([mail(), mail(queue="other")], connection=connection)
    assert count_tasks(client) == 2


def test_refused_task_leaves_the_caller_s_transaction_failed(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        with pytest.raises(InvalidTask):
            client.schedule_many([mail(at=LAST_DAY)], connection=connection)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR


def test_defaults_fill_what_was_left_out(dsn: str) -> None:
    with Client(dsn, defaults=lambda _: {"queue": "letters"}) as client:
        ids = client.schedule_many([mail(), mail(queue="own")])
        assert [client.get(task_id).queue for task_id in ids] == ["letters", "own"]
