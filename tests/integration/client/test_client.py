"""The client for threads, on a real database."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row, namedtuple_row

from pgsched.client.client import Client
from pgsched.domain.errors import (
    ConfigError,
    DatabaseUnavailable,
    InvalidTask,
    SchemaMismatch,
    TaskNotFound,
    TransitionRefused,
)
from pgsched.domain.interval import Interval
from tests.support.tables import (
    WORKER,
    add_worker,
    set_completed,
    set_dead,
    set_running,
    task_row,
)

Database = psycopg.Connection[dict[str, Any]]
LATER = datetime(2040, 1, 1, 12, tzinfo=UTC)
LAST_DAY = datetime(9999, 12, 31, 12, tzinfo=UTC)
"""Refused by the database, not by Python."""


def ids(tasks: list[Any]) -> list[int]:
    return [task.id for task in tasks]


# Scheduling.


def test_scheduled_task_reads_back_as_it_was_given(client: Client) -> None:
    task = client.get(
        client.schedule(
            "mail",
            {"to": "ü", "n": [1, 2.5, None]},
            at=LATER,
            queue="letters",
            priority=9,
            idempotency_key="k",
            name="newsletter",
            tags=["a", "b,c"],
            metadata={"by": "hand"},
            tenant_id="t",
            user_id="u",
            created_by="c",
            max_attempts=7,
            backoff="linear",
            backoff_delay=2.5,
            backoff_max="1d",
            timeout=timedelta(minutes=1),
            enabled=False,
            parent_id=17,
        )
    )
    assert task.payload == {"to": "ü", "n": [1, 2.5, None]}
    assert (task.scheduled_for, task.next_run_at, task.status) == (LATER, LATER, "pending")
    assert (task.queue, task.priority, task.idempotency_key, task.task_name) == (
        "letters",
        9,
        "k",
        "newsletter",
    )
    assert (task.tags, task.metadata) == (["a", "b,c"], {"by": "hand"})
    assert (task.tenant_id, task.user_id, task.created_by, task.parent_id) == ("t", "u", "c", 17)
    assert (task.max_attempts, task.backoff, task.enabled) == (7, "linear", False)
    assert (task.backoff_delay, task.backoff_max, task.timeout) == (
        Interval(microseconds=2_500_000),
        Interval(days=1),
        Interval(microseconds=60_000_000),
    )


def test_task_with_nothing_given_has_the_table_s_defaults(client: Client) -> None:
    task = client.get(client.schedule("mail"))
    assert (task.queue, task.priority, task.payload, task.max_attempts) == ("default", 5, {}, 3)
    assert (task.schedule_type, task.timezone, task.enabled) == ("one_time", "UTC", True)
    assert task.next_run_at is not None


def test_delay_is_counted_from_the_database_s_now(client: Client, db: Database) -> None:
    row = task_row(db, client.schedule("mail", delay="1d"))
    assert row["scheduled_for"] - row["created_at"] == timedelta(days=1)


def test_cron_makes_a_recurring_task(client: Client) -> None:
    task = client.get(client.schedule("mail", cron="0 8 * * 1", timezone="Europe/Berlin", on_missed="skip"))
    assert (task.schedule_type, task.cron_expression, task.timezone) == (
        "recurring",
        "0 8 * * 1",
        "Europe/Berlin",
    )
    assert (task.on_missed, task.scheduled_for) == ("skip", task.next_run_at)


def test_every_makes_a_repeating_task(client: Client) -> None:
    task = client.get(client.schedule("mail", every="1mo", times=3, start=LATER, jitter=5))
    assert (task.schedule_type, task.repeat_interval, task.repeat_count) == (
        "repeating",
        Interval(months=1),
        3,
    )
    assert (task.start_date, task.jitter) == (LATER, Interval(microseconds=5_000_000))


def test_known_idempotency_key_returns_the_first_task(client: Client) -> None:
    first = client.schedule("mail", {"n": 1}, idempotency_key="k")
    assert client.schedule("mail", {"n": 2}, idempotency_key="k") == first
    assert client.get(first).payload == {"n": 1}


def test_option_that_breaks_a_rule_is_refused_before_the_database_is_asked() -> None:
    with pytest.raises(InvalidTask, match="priority must be between 1 and 10, got 99"):
        Client("host=/nowhere").schedule("mail", priority=99)


def test_rule_that_only_the_database_knows_is_named(client: Client) -> None:
    with pytest.raises(InvalidTask, match="scheduled_for must be between the years 1 and 9999"):
        client.schedule("mail", at=LAST_DAY)


def test_defaults_are_for_the_types_they_know(dsn: str) -> None:
    with Client(dsn, defaults=lambda task_type: {"queue": "letters"} if task_type == "mail" else {}) as client:
        assert client.get(client.schedule("mail")).queue == "letters"
        assert client.get(client.schedule("mail", queue="own")).queue == "own"
        assert client.get(client.schedule("other")).queue == "default"


# In the caller's transaction.


def test_task_is_part_of_the_caller_s_transaction(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        task_id = client.schedule("mail", connection=connection)
        with pytest.raises(TaskNotFound):
            client.get(task_id)
        connection.commit()
    assert client.get(task_id).id == task_id


def test_task_goes_with_the_caller_s_rollback(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        task_id = client.schedule("mail", connection=connection)
        connection.rollback()
    with pytest.raises(TaskNotFound):
        client.get(task_id)


@pytest.mark.parametrize(
    "settings",
    [
        pytest.param({"row_factory": dict_row}, id="dict_row"),
        pytest.param({"row_factory": namedtuple_row}, id="namedtuple_row"),
        pytest.param({"cursor_factory": psycopg.RawCursor}, id="raw cursor"),
        pytest.param({"cursor_factory": psycopg.ClientCursor}, id="client cursor"),
        pytest.param({"prepare_threshold": 0}, id="always prepared"),
        pytest.param({"prepare_threshold": None}, id="never prepared"),
        pytest.param({"autocommit": True}, id="autocommit"),
        pytest.param(
            {"options": "-c datestyle=German -c intervalstyle=sql_standard -c timezone=Asia/Kolkata"},
            id="other styles",
        ),
        pytest.param({"options": "-c search_path="}, id="empty search path"),
    ],
)
def test_caller_s_connection_may_have_any_settings(client: Client, dsn: str, settings: dict[str, Any]) -> None:
    with psycopg.connect(dsn, **settings) as connection:
        task_id = client.schedule("mail", {"a": 1}, at=LATER, timeout="1mo", connection=connection)
    task = client.get(task_id)
    assert (task.scheduled_for, task.timeout) == (LATER, Interval(months=1))


def test_caller_s_connection_may_be_in_a_pipeline(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection, connection.pipeline():
        task_id = client.schedule("mail", connection=connection)
    assert client.get(task_id).id == task_id


def test_refused_task_leaves_the_caller_s_transaction_failed(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        with pytest.raises(InvalidTask, match="scheduled_for must be between the years 1 and 9999"):
            client.schedule("mail", at=LAST_DAY, connection=connection)
        assert connection.info.transaction_status == psycopg.pq.TransactionStatus.INERROR


def test_failed_transaction_of_the_caller_stays_psycopg_s_error(client: Client, dsn: str) -> None:
    with psycopg.connect(dsn) as connection:
        with pytest.raises(psycopg.errors.DivisionByZero):
            connection.execute("select 1 / 0")
        with pytest.raises(psycopg.errors.InFailedSqlTransaction):
            client.schedule("mail", connection=connection)


@pytest.mark.parametrize("connection", ["postgresql://", object()], ids=["text", "object"])
def test_what_is_no_connection_is_a_type_error(client: Client, connection: Any) -> None:
    with pytest.raises(TypeError, match=r"connection must be a psycopg\.Connection, got a builtins\."):
        client.schedule("mail", connection=connection)


# Reading.


def test_task_that_does_not_exist_is_not_found(client: Client) -> None:
    with pytest.raises(TaskNotFound, match="task 4711 does not exist"):
        client.get(4711)


@pytest.mark.parametrize("method", ["get", "run_now", "enable", "disable", "cancel", "retry", "delete"])
@pytest.mark.parametrize("task_id", [4711, 2**63, -(10**30)])
def test_every_method_on_one_task_says_when_there_is_none(client: Client, method: str, task_id: int) -> None:
    with pytest.raises(TaskNotFound, match=f"task {task_id} does not exist"):
        getattr(client, method)(task_id)


def test_record_becomes_json_able(client: Client, db: Database) -> None:
    task_id = client.schedule("mail", at=LATER, timeout="90s")
    set_running(db, task_id)
    record = client.get(task_id).as_dict()
    assert record["scheduled_for"] == "2040-01-01T12:00:00Z"
    assert (record["timeout"], record["locked_by"]) == ("90 secs", str(WORKER))


def test_times_read_are_utc_whatever_the_session_s_zone(client: Client, db: Database) -> None:
    name = db.info.dbname
    db.execute(psycopg.sql.SQL("alter database {} set timezone = 'Asia/Kolkata'").format(psycopg.sql.Identifier(name)))
    task = client.get(client.schedule("mail", at=LATER))
    assert task.scheduled_for is not None
    assert task.scheduled_for.utcoffset() == timedelta(0)


def test_tasks_are_listed_latest_first_and_page_by_page(client: Client) -> None:
    made = [client.schedule("mail") for _ in range(5)]
    first = client.list_tasks(limit=2)
    second = client.list_tasks(limit=2, before_id=first[-1].id)
    assert ids(first) + ids(second) == [made[4], made[3], made[2], made[1]]


@pytest.mark.parametrize(
    "filters",
    [
        {"queue": "letters"},
        {"task_type": "letter"},
        {"schedule_type": "repeating"},
        {"tag": "x"},
        {"tenant_id": "t"},
        {"parent_id": 17},
        {"queue": "letters", "tag": "x", "status": "pending"},
    ],
    ids=str,
)
def test_list_holds_only_what_fits(client: Client, filters: dict[str, Any]) -> None:
    client.schedule("mail")
    fitting = client.schedule("letter", queue="letters", every=60, tags=["x", "y"], tenant_id="t", parent_id=17)
    assert ids(client.list_tasks(**filters)) == [fitting]


def test_list_by_status_finds_the_dead(client: Client, db: Database) -> None:
    client.schedule("mail")
    set_dead(db, dead := client.schedule("mail"))
    assert ids(client.list_tasks(status="dead")) == [dead]


@pytest.mark.parametrize(
    ("filters", "message"),
    [
        ({"status": "gone"}, "status must be one of pending, running, .*, got 'gone'"),
        ({"schedule_type": "cron"}, "schedule_type must be one of .*, got 'cron'"),
        ({"limit": 0}, "limit must be between 1 and 10000, got 0"),
        ({"before_id": 2**63}, "before_id must be the id of a task, got 9223372036854775808"),
        ({"queue": "a\0"}, "queue must not contain the character"),
    ],
)
def test_filter_that_makes_no_sense_is_refused(client: Client, filters: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidTask, match=message):
        client.list_tasks(**filters)


def test_executions_are_listed_latest_first(client: Client, db: Database) -> None:
    task_id = client.schedule("mail")
    for token in (1, 2, 3):
        db.execute(
            """
            insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,
              finished_at, duration_ms, result)
            values (%s, 'mail', 'default', 1, %s, 'completed', now(), now(), 1.5, '{"ok": true}')
            """,
            (task_id, token),
        )
    found = client.executions(task_id, limit=2)
    assert [one.fencing_token for one in found] == [3, 2]
    assert (found[0].status, found[0].duration_ms, found[0].result) == ("completed", 1.5, {"ok": True})


def test_logs_are_the_last_lines_in_their_order(client: Client, db: Database) -> None:
    task_id = client.schedule("mail")
    for second in range(3):
        db.execute(
            """
            insert into pgsched.execution_logs (task_id, fencing_token, attempt, logged_at, level, message, fields)
            values (%s, 1, 1, now() + %s * interval '1 second', 'info', %s, '{"n": 1}')
            """,
            (task_id, second, f"line {second}"),
        )
    found = client.logs(task_id, limit=2)
    assert [one.message for one in found] == ["line 1", "line 2"]
    assert found[0].fields == {"n": 1}


# Changing.


def test_run_now_makes_a_waiting_task_due(client: Client) -> None:
    task_id = client.schedule("mail", at=LATER)
    assert client.run_now(task_id) == task_id
    due = client.get(task_id).next_run_at
    assert due is not None
    assert due < LATER


def test_disable_and_enable_say_whether_something_changed(client: Client) -> None:
    task_id = client.schedule("mail")
    assert [client.disable(task_id), client.disable(task_id)] == [True, False]
    assert [client.enable(task_id), client.enable(task_id)] == [True, False]


def test_task_that_is_over_cannot_be_cancelled(client: Client, db: Database) -> None:
    set_completed(db, task_id := client.schedule("mail"))
    with pytest.raises(TransitionRefused, match=f"task {task_id} is completed and cannot be cancelled"):
        client.cancel(task_id)


def test_task_that_waits_cannot_be_retried(client: Client) -> None:
    task_id = client.schedule("mail")
    with pytest.raises(TransitionRefused, match=f"task {task_id} is pending and cannot be retried"):
        client.retry(task_id)


def test_deleted_task_is_gone(client: Client) -> None:
    task_id = client.schedule("mail")
    client.delete(task_id)
    with pytest.raises(TaskNotFound):
        client.get(task_id)


def test_running_task_cannot_be_deleted(client: Client, db: Database) -> None:
    set_running(db, task_id := client.schedule("mail"))
    with pytest.raises(TransitionRefused, match=f"task {task_id} is running and cannot be deleted"):
        client.delete(task_id)
    assert client.get(task_id).status == "running"


# Dead letters.


def test_dead_are_listed_latest_first_and_page_by_page(client: Client, db: Database) -> None:
    made = [client.schedule("mail") for _ in range(4)]
    for task_id, ago in zip(made, ("1 hour", "2 hours", "2 hours", "0"), strict=True):
        set_dead(db, task_id, ago=ago)
    db.execute("update pgsched.tasks set died_at = date_trunc('hour', died_at)")
    first = client.dead(limit=3)
    last = first[-1]
    assert last.died_at is not None
    assert ids(first) == [made[3], made[0], made[2]]
    assert ids(client.dead(before=(last.died_at, last.id))) == [made[1]]


def test_dead_are_listed_by_queue_and_type(client: Client, db: Database) -> None:
    made = [client.schedule(kind, queue=queue) for kind in ("a", "b") for queue in ("x", "y")]
    for task_id in made:
        set_dead(db, task_id)
    assert ids(client.dead(queue="x", task_type="b")) == [made[2]]


def test_retry_dead_gives_back_all_that_fit(client: Client, db: Database) -> None:
    made = [client.schedule("mail", queue=queue) for queue in ("x", "x", "y")]
    for task_id in made:
        set_dead(db, task_id)
    assert client.retry_dead(queue="x") == 2
    assert [client.get(task_id).status for task_id in made] == ["pending", "pending", "dead"]
    assert client.get(made[0]).attempts == 0


def test_purge_dead_deletes_those_that_are_old_enough(client: Client, db: Database) -> None:
    old, young = client.schedule("mail"), client.schedule("mail")
    set_dead(db, old, ago="2 days")
    set_dead(db, young)
    alive = client.schedule("mail")
    assert client.purge_dead(older_than=timedelta(days=1)) == 1
    assert ids(client.list_tasks()) == [alive, young]


@pytest.mark.parametrize("change", ["purge_dead", "retry_dead"])
def test_a_change_of_all_dead_tasks_asks_for_an_explicit_word(client: Client, db: Database, change: str) -> None:
    made = [client.schedule("mail"), client.schedule("report")]
    for task_id in made:
        set_dead(db, task_id)
    for given in ({}, {"all": False}, {"queue": None, "task_type": None}):
        with pytest.raises(InvalidTask, match="all must be true where no filter is given"):
            getattr(client, change)(**given)
    with pytest.raises(InvalidTask, match="all must be True or False, got 'yes'"):
        getattr(client, change)(all="yes")
    assert ids(client.dead()) == made[::-1]
    assert getattr(client, change)(task_type="mail") == 1
    assert getattr(client, change)(all=True) == 1
    assert client.dead() == []


def test_purge_dead_of_a_negative_age_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTask, match="older_than must not be negative"):
        client.purge_dead(older_than=timedelta(days=-1))


# Queues, workers, numbers.


def test_queue_is_counted_by_state(client: Client, db: Database) -> None:
    due = [client.schedule("mail") for _ in range(4)]
    client.schedule("mail", at=LATER)
    client.schedule("mail", enabled=False)
    set_running(db, due[0])
    set_running(db, due[1], lease="-1 second")
    set_dead(db, due[2])
    (queue,) = client.queues()
    assert (queue.name, queue.pending, queue.due, queue.running, queue.dead) == ("default", 3, 2, 1, 1)
    assert queue.oldest_due_seconds is not None
    assert queue.oldest_due_seconds >= 0


def test_queue_without_due_tasks_has_no_oldest_one(client: Client) -> None:
    client.schedule("mail", at=LATER)
    assert client.queues()[0].oldest_due_seconds is None


def test_queues_are_those_with_tasks_settings_or_workers(client: Client, db: Database) -> None:
    client.schedule("mail", queue="tasks")
    client.pause_queue("settings")
    add_worker(db, queues=["worker"], task_types=[])
    assert [(queue.name, queue.paused) for queue in client.queues()] == [
        ("settings", True),
        ("tasks", False),
        ("worker", False),
    ]


def test_queue_is_paused_and_resumed_any_number_of_times(client: Client) -> None:
    for _ in range(2):
        client.pause_queue("mail")
    assert client.queues()[0].paused
    for _ in range(2):
        client.resume_queue("mail")
    assert not client.queues()[0].paused


def test_queue_name_that_breaks_a_rule_is_refused(client: Client) -> None:
    with pytest.raises(InvalidTask, match="queue must have 1 to 100 characters"):
        client.pause_queue("")


def test_workers_are_alive_until_three_leases_have_passed(client: Client, db: Database) -> None:
    add_worker(db, queues=["a"], task_types=["mail"], silent_for="80 seconds")
    add_worker(db, queues=["b"], task_types=["mail"], silent_for="100 seconds")
    assert {worker.queues[0]: worker.alive for worker in client.workers()} == {"a": True, "b": False}


def test_stats_tell_what_is_due_without_a_handler(client: Client, db: Database) -> None:
    add_worker(db, queues=["default"], task_types=["mail"])
    add_worker(db, queues=["default"], task_types=["gone"], silent_for="1 hour")
    for task_type, options in (
        ("mail", {}),
        ("gone", {}),
        ("gone", {}),
        ("gone", {"at": LATER}),
        ("mail", {"queue": "other"}),
    ):
        client.schedule(task_type, **options)
    found = client.stats()
    assert [tuple(one) for one in found.unhandled] == [("default", "gone", 2), ("other", "mail", 1)]
    assert found.as_dict()["unhandled"][0] == {"queue": "default", "task_type": "gone", "due": 2}
    assert [queue.name for queue in found.queues] == ["default", "other"]


# The database.


def test_dsn_that_leads_nowhere_is_one_line(tmp_path: Path) -> None:
    dsn = f"host={tmp_path} dbname=x user=u password=hunter2"
    with Client(dsn) as client, pytest.raises(DatabaseUnavailable) as caught:
        client.queues()
    assert str(tmp_path) in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_database_without_the_schema_says_what_to_do(empty_dsn: str) -> None:
    with Client(empty_dsn) as client, pytest.raises(SchemaMismatch, match="run 'pgsched migrate'"):
        client.schedule("mail")


def test_caller_s_database_without_the_schema_says_what_to_do(empty_dsn: str) -> None:
    with (
        psycopg.connect(empty_dsn) as connection,
        pytest.raises(SchemaMismatch, match="run 'pgsched migrate'"),
    ):
        Client(empty_dsn).schedule("mail", connection=connection)


def test_newer_schema_is_a_mismatch(client: Client, db: Database) -> None:
    db.execute("insert into pgsched.migrations (version, name) values (9999, 'future')")
    with pytest.raises(SchemaMismatch, match="newer"):
        client.queues()


def test_client_goes_on_after_its_connections_were_cut(client: Client, db: Database) -> None:
    client.queues()
    db.execute(
        "select pg_terminate_backend(pid) from pg_stat_activity "
        "where application_name = 'pgsched client' and datname = current_database()"
    )
    assert client.queues() == []


def test_many_threads_share_one_client(client: Client) -> None:
    def work() -> None:
        for _ in range(5):
            client.schedule("mail")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(client.list_tasks(limit=100)) == 40


def test_closed_client_says_so(dsn: str) -> None:
    client = Client(dsn)
    client.close()
    with pytest.raises(DatabaseUnavailable, match="the client is closed"):
        client.queues()


def test_pool_size_must_make_sense() -> None:
    with pytest.raises(ConfigError, match="pool_size must be between 1 and 1000, got 0"):
        Client(pool_size=0)


def test_embedded_dsn_without_a_folder_is_refused() -> None:
    with pytest.raises(ConfigError, match="must name a folder"):
        Client("embedded:").queues()


def test_role_without_rights_is_told_by_the_server_s_words(client: Client, db: Database, dsn: str) -> None:
    role = f"nobody_{db.info.dbname}"[:63]
    identifier = psycopg.sql.Identifier(role)
    db.execute(psycopg.sql.SQL("create role {}").format(identifier))
    try:
        connection = psycopg.connect(dsn, options=f"-c role={role}")
        with connection, pytest.raises(psycopg.errors.InsufficientPrivilege):
            client.schedule("mail", connection=connection)
    finally:
        db.execute(psycopg.sql.SQL("drop role {}").format(identifier))
