"""The SQL functions for other languages, and the rules that the tables keep by themselves."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import psycopg
import pytest
from psycopg import errors
from psycopg.types.json import Jsonb

from pgsched.db.error_mapping import rule_of
from tests.support.tables import (
    WORKER,
    insert_task,
    set_backing_off,
    set_completed,
    set_dead,
    set_running,
    task_row,
)

Database = psycopg.Connection[dict[str, Any]]


def call(db: Database, expression: str, *arguments: Any) -> Any:
    """The value of an SQL expression."""
    row = db.execute(f"select {expression} as value", arguments).fetchone()
    assert row is not None
    return row["value"]


# schedule


def test_schedule_with_a_type_alone_is_due_now(db: Database) -> None:
    row = task_row(db, call(db, "pgsched.schedule('mail')"))
    assert row["next_run_at"] == row["scheduled_for"] == row["created_at"]
    assert (row["status"], row["payload"], row["queue"], row["priority"]) == ("pending", {}, "default", 5)


def test_schedule_derives_the_schedule_type(db: Database) -> None:
    types = [
        task_row(db, call(db, f"pgsched.schedule('mail', {arguments})"))["schedule_type"]
        for arguments in (
            "delay => '1 hour'",
            "cron_expression => '@daily'",
            "repeat_interval => '1 hour'",
        )
    ]
    assert types == ["one_time", "recurring", "repeating"]


def test_schedule_has_the_table_s_own_defaults(db: Database) -> None:
    by_function = task_row(db, call(db, "pgsched.schedule('mail')"))
    by_insert = task_row(db, insert_task(db))
    times = {"id", "scheduled_for", "next_run_at", "planned_from", "created_at", "updated_at"}
    assert {name: value for name, value in by_function.items() if name not in times} == {
        name: value for name, value in by_insert.items() if name not in times
    }


def test_schedule_with_a_known_key_returns_the_existing_task(db: Database) -> None:
    first = call(db, "pgsched.schedule('mail', idempotency_key => 'k')")
    assert call(db, "pgsched.schedule('other', idempotency_key => 'k')") == first
    assert task_row(db, first)["task_type"] == "mail"


def test_schedule_adds_jitter_to_the_due_clock_only(db: Database) -> None:
    row = task_row(db, call(db, "pgsched.schedule('mail', run_at => '2040-01-01', jitter => '1 hour')"))
    assert row["scheduled_for"] < row["next_run_at"]
    assert (row["next_run_at"] - row["scheduled_for"]).total_seconds() < 3600


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("run_at => now(), delay => '1 s'", "run_at and delay exclude each other"),
        ("delay => '1 s', cron_expression => '@daily'", "run_at and delay are for one-time tasks"),
        ("run_at => now(), repeat_interval => '1 s'", "run_at and delay are for one-time tasks"),
        ("timezone => 'Europe/Atlantis'", "timezone must be a name of the IANA time zone database"),
        ("timezone => 'CET-1'", "timezone must be a name of the IANA time zone database"),
        ("cron_expression => '* * * *'", r"cron_expression '\* \* \* \*': must have 5 fields"),
        ("cron_expression => '60 * * * *'", "minute must be between 0 and 59, got 60"),
    ],
)
def test_schedule_refuses_what_makes_no_sense(db: Database, arguments: str, message: str) -> None:
    with pytest.raises(errors.InvalidParameterValue, match=message):
        call(db, f"pgsched.schedule('mail', {arguments})")


# run_now


def test_run_now_makes_a_waiting_task_due_and_keeps_its_tick(db: Database) -> None:
    task_id = insert_task(db, scheduled_for="2040-01-01 00:00+00", enabled=False)
    before = task_row(db, task_id)
    assert call(db, "pgsched.run_now(%s)", task_id) == task_id
    after = task_row(db, task_id)
    assert after["next_run_at"] < before["next_run_at"]
    assert (after["scheduled_for"], after["enabled"]) == (before["scheduled_for"], True)


def test_run_now_leaves_a_task_that_is_due_where_it_is(db: Database) -> None:
    task_id = insert_task(db, scheduled_for="2020-01-01 00:00+00")
    due = task_row(db, task_id)["next_run_at"]
    call(db, "pgsched.run_now(%s)", task_id)
    assert task_row(db, task_id)["next_run_at"] == due


def test_run_now_of_a_schedule_runs_a_copy(db: Database) -> None:
    task_id = insert_task(
        db,
        cron_expression="@daily",
        payload=Jsonb({"a": 1}),
        idempotency_key="k",
        priority=8,
    )
    before = task_row(db, task_id)
    child = task_row(db, call(db, "pgsched.run_now(%s)", task_id))
    assert (child["parent_id"], child["schedule_type"], child["payload"]) == (task_id, "one_time", {"a": 1})
    assert (child["priority"], child["idempotency_key"]) == (8, f"run:{task_id}:{child['id']}")
    assert task_row(db, task_id) == before


@pytest.mark.parametrize("end", [set_completed, set_dead])
def test_run_now_of_a_task_that_is_over_runs_a_copy(db: Database, end: Any) -> None:
    end(db, task_id := insert_task(db))
    assert task_row(db, call(db, "pgsched.run_now(%s)", task_id))["parent_id"] == task_id


def test_run_now_of_a_running_task_is_refused(db: Database) -> None:
    set_running(db, task_id := insert_task(db))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match=f"task {task_id} is running already"):
        call(db, "pgsched.run_now(%s)", task_id)


# enable, disable


def test_disable_keeps_the_task_s_place(db: Database) -> None:
    task_id = insert_task(db)
    due = task_row(db, task_id)["next_run_at"]
    assert call(db, "pgsched.disable(%s)", task_id) is True
    row = task_row(db, task_id)
    assert (row["enabled"], row["status"], row["next_run_at"]) == (False, "pending", due)


def test_disable_of_a_paused_task_changes_nothing(db: Database) -> None:
    assert call(db, "pgsched.disable(%s)", insert_task(db, enabled=False)) is False


def test_enable_says_whether_it_was_paused(db: Database) -> None:
    task_id = insert_task(db, enabled=False)
    assert call(db, "pgsched.enable(%s)", task_id) is True
    assert call(db, "pgsched.enable(%s)", task_id) is False
    assert task_row(db, task_id)["enabled"] is True


# cancel


def test_cancel_of_a_waiting_task_ends_it_at_once(db: Database) -> None:
    call(db, "pgsched.cancel(%s)", task_id := insert_task(db))
    row = task_row(db, task_id)
    assert (row["status"], row["next_run_at"]) == ("cancelled", None)
    assert row["completed_at"] is not None


def test_cancel_of_a_running_task_fences_its_worker(db: Database) -> None:
    set_running(db, task_id := insert_task(db))
    token = task_row(db, task_id)["fencing_token"]
    call(db, "pgsched.cancel(%s)", task_id)
    row = task_row(db, task_id)
    assert (row["status"], row["locked_by"], row["locked_until"]) == ("cancelled", None, None)
    assert row["fencing_token"] == token + 1


def test_cancel_of_a_running_task_is_written_into_the_history(db: Database) -> None:
    set_running(db, task_id := insert_task(db))
    call(db, "pgsched.cancel(%s)", task_id)
    (execution,) = db.execute("select * from pgsched.executions where task_id = %s", (task_id,)).fetchall()
    assert (execution["status"], execution["worker_id"]) == ("cancelled", WORKER)
    assert (execution["attempt"], execution["fencing_token"]) == (1, 1)


def test_cancel_of_a_running_task_tells_its_worker(db: Database, dsn: str) -> None:
    set_running(db, task_id := insert_task(db))
    with psycopg.connect(dsn, autocommit=True) as listener:
        listener.execute("listen pgsched_cancel")
        call(db, "pgsched.cancel(%s)", task_id)
        (notice,) = listener.notifies(timeout=10, stop_after=1)
    assert notice.payload == str(task_id)


@pytest.mark.parametrize("end", [set_completed, set_dead])
def test_cancel_of_a_task_that_is_over_is_refused(db: Database, end: Any) -> None:
    end(db, task_id := insert_task(db))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="cannot be cancelled"):
        call(db, "pgsched.cancel(%s)", task_id)


# retry


@pytest.mark.parametrize("end", [set_dead, lambda db, task_id: call(db, "pgsched.cancel(%s)", task_id)])
def test_retry_gives_a_task_all_its_attempts_again(db: Database, end: Any) -> None:
    task_id = insert_task(db, scheduled_for="2020-01-01 00:00+00", enabled=False)
    end(db, task_id)
    call(db, "pgsched.retry(%s)", task_id)
    row = task_row(db, task_id)
    assert (row["status"], row["attempts"], row["enabled"]) == ("pending", 0, True)
    assert (row["died_at"], row["completed_at"]) == (None, None)
    assert row["scheduled_for"].year == 2020
    assert row["next_run_at"] > row["scheduled_for"]


def test_retry_of_a_task_that_waits_for_its_backoff_is_due_now(db: Database) -> None:
    set_backing_off(db, task_id := insert_task(db))
    due = task_row(db, task_id)["next_run_at"]
    call(db, "pgsched.retry(%s)", task_id)
    row = task_row(db, task_id)
    assert (row["attempts"], row["next_run_at"] < due) == (0, True)


def test_retry_of_a_dead_schedule_plans_it_afresh(db: Database) -> None:
    task_id = insert_task(db, cron_expression="@daily", scheduled_for="2020-01-01 00:00+00")
    set_dead(db, task_id)
    before = task_row(db, task_id)["planned_from"]
    call(db, "pgsched.retry(%s)", task_id)
    row = task_row(db, task_id)
    assert (row["status"], row["last_error"]) == ("pending", None)
    assert row["next_run_at"] == row["scheduled_for"] > row["planned_from"] > before


@pytest.mark.parametrize("end", [lambda db, task_id: None, set_running, set_completed], ids=["new", "run", "done"])
def test_retry_in_any_other_status_is_refused(db: Database, end: Any) -> None:
    end(db, task_id := insert_task(db))
    with pytest.raises(errors.ObjectNotInPrerequisiteState, match="cannot be retried"):
        call(db, "pgsched.retry(%s)", task_id)


@pytest.mark.parametrize("function", ["run_now", "enable", "disable", "cancel", "retry"])
def test_function_on_a_task_that_does_not_exist_says_so(db: Database, function: str) -> None:
    with pytest.raises(errors.NoDataFound, match="task 4711 does not exist"):
        call(db, f"pgsched.{function}(4711)")


# The tables' own rules: each is broken by one plain INSERT, and named.


BROKEN = {
    "task_type_must_have_1_to_200_characters": {"task_type": ""},
    "task_type_must_not_contain_control_characters": {"task_type": "a\nb"},
    "queue_must_have_1_to_100_characters": {"queue": "q" * 101},
    "queue_must_not_contain_control_characters": {"queue": "a\tb"},
    "priority_must_be_between_1_and_10": {"priority": 99},
    "payload_must_be_a_json_object": {"payload": "[1]"},
    "payload_must_not_exceed_1_mib": {"payload": '{"a":"' + "x" * 1048576 + '"}'},
    "metadata_must_be_a_json_object": {"metadata": "1"},
    "metadata_must_not_exceed_1_mib": {"metadata": '{"a":"' + "x" * 1048576 + '"}'},
    "payload_must_not_be_nested_deeper_than_100_levels": {"payload": '{"a":' + "[" * 100 + "1" + "]" * 100 + "}"},
    "payload_must_not_hold_numbers_beyond_1e308": {"payload": '{"a": [1e309]}'},
    "metadata_must_not_be_nested_deeper_than_100_levels": {"metadata": '{"a":' + "[" * 100 + "1" + "]" * 100 + "}"},
    "metadata_must_not_hold_numbers_beyond_1e308": {"metadata": '{"a": -1e309}'},
    "tags_must_not_contain_null": {"tags": [None]},
    "tags_must_be_at_most_100": {"tags": ["t"] * 101},
    "schedule_type_must_be_one_time_recurring_or_repeating": {"schedule_type": "often"},
    "scheduled_for_must_be_between_the_years_1_and_9999": {"scheduled_for": "infinity"},
    "start_date_must_be_between_the_years_1_and_9999": {"start_date": "-infinity"},
    "end_date_must_be_between_the_years_1_and_9999": {"end_date": "10000-01-01"},
    "next_run_at_must_be_between_the_years_1_and_9999": {"next_run_at": "0001-01-01 BC"},
    "repeat_interval_must_be_at_least_1_millisecond": {"repeat_interval": "0"},
    "repeat_interval_must_be_at_most_1000_years": {"repeat_interval": "1001 years"},
    "repeat_count_must_be_at_least_1": {"repeat_interval": "1 h", "repeat_count": 0},
    "execution_count_must_not_be_negative": {"execution_count": -1},
    "on_missed_must_be_once_skip_or_all": {"on_missed": "never"},
    "catchup_window_must_not_be_negative": {"catchup_window": "-1 s"},
    "catchup_window_must_be_at_most_1000_years": {"catchup_window": "1001 years"},
    "overlap_must_be_skip_or_allow": {"overlap": "wait"},
    "jitter_must_be_between_0_and_1_day": {"jitter": "25 h"},
    "status_must_be_a_status_of_a_task": {"status": "gone"},
    "attempts_must_not_be_negative": {"attempts": -1},
    "max_attempts_must_be_between_1_and_1000": {"max_attempts": 0},
    "backoff_must_be_exponential_linear_or_fixed": {"backoff": "random"},
    "backoff_delay_must_not_be_negative": {"backoff_delay": "-1 s"},
    "backoff_delay_must_be_at_most_1000_years": {"backoff_delay": "1001 years"},
    "backoff_max_must_not_be_negative": {"backoff_max": "1 mon -1 day"},
    "backoff_max_must_be_at_most_1000_years": {"backoff_max": "1001 years"},
    "backoff_factor_must_be_between_1_and_1000": {"backoff_factor": 0.5},
    "backoff_jitter_must_be_between_0_and_1": {"backoff_jitter": "NaN"},
    "timeout_must_be_at_least_1_millisecond": {"timeout": "0"},
    "timeout_must_be_at_most_1000_years": {"timeout": "1001 years"},
    "idempotency_key_must_have_1_to_500_characters": {"idempotency_key": ""},
    "depends_on_must_not_contain_null": {"depends_on": [None]},
    "depends_on_must_be_at_most_100000": {"depends_on": [1] * 100_001},
    "dependency_mode_must_be_all_any_or_each": {"dependency_mode": "some"},
    "on_dependency_dead_must_be_cancel_run_or_wait": {"on_dependency_dead": "skip"},
    "concurrency_key_must_have_1_to_200_characters": {"concurrency_key": ""},
    "due_if_and_only_if_pending_or_running": {
        "status": "completed",
        "completed_at": "2039-01-01",
        "next_run_at": "2040-01-01",
    },
    "completed_at_if_and_only_if_completed_or_cancelled": {"completed_at": "2039-01-01"},
    "leased_if_and_only_if_running": {"locked_by": WORKER, "locked_until": "2040-01-01"},
    "died_at_if_and_only_if_dead": {"status": "dead"},
    "cron_expression_if_and_only_if_recurring": {"schedule_type": "recurring"},
    "repeat_interval_if_and_only_if_repeating": {"schedule_type": "one_time", "repeat_interval": "1 h"},
    "repeat_count_needs_a_repeat_interval": {"repeat_count": 2},
    "end_date_must_not_be_before_start_date": {"start_date": "2040-01-02", "end_date": "2040-01-01"},
}


@pytest.mark.parametrize(("rule", "columns"), BROKEN.items(), ids=BROKEN)
def test_plain_insert_that_breaks_a_rule_is_refused_by_its_name(
    db: Database, rule: str, columns: dict[str, Any]
) -> None:
    with pytest.raises(errors.CheckViolation) as caught:
        insert_task(db, **columns)
    assert caught.value.diag.constraint_name == rule


def test_every_rule_of_the_tasks_has_a_test(db: Database) -> None:
    rows = db.execute(
        """
        select conname from pg_constraint
        where contype = 'c' and connamespace = 'pgsched'::regnamespace
          and (contypid <> 0 or conrelid = 'pgsched.tasks'::regclass)
        """
    ).fetchall()
    assert {row["conname"] for row in rows} == set(BROKEN)


def test_deepest_payload_and_largest_numbers_are_taken(db: Database) -> None:
    payload = '{"a":' + "[" * 99 + "1e308, -1e308" + "]" * 99 + "}"
    assert insert_task(db, payload=payload)


@pytest.mark.parametrize("style", ["postgres", "sql_standard", "iso_8601", "postgres_verbose"])
def test_interval_is_taken_whatever_the_session_s_style(db: Database, style: str) -> None:
    db.execute("select set_config('intervalstyle', %s, false)", (style,))
    assert insert_task(db, timeout="1 year 2 mons 3 days 04:05:06", backoff_delay="1 mon", backoff_max="1 mon")


def test_known_idempotency_key_is_refused_by_its_rule_s_name(db: Database) -> None:
    insert_task(db, idempotency_key="k")
    with pytest.raises(errors.UniqueViolation) as caught:
        insert_task(db, idempotency_key="k")
    assert caught.value.diag.constraint_name == "idempotency_key_must_be_unique"


@pytest.mark.parametrize(
    ("columns", "rule"),
    [
        ("(name, ordering) values ('q', 'random')", "ordering_must_be_fifo_or_lifo"),
        ("(name, retention, allow_short) values ('q', '-1 day', true)", "retention_must_not_be_negative"),
        ("(name) values ('')", "queue_must_have_1_to_100_characters"),
    ],
)
def test_queue_s_settings_have_rules_too(db: Database, columns: str, rule: str) -> None:
    with pytest.raises(errors.CheckViolation) as caught:
        db.execute(f"insert into pgsched.queues {columns}")
    assert caught.value.diag.constraint_name == rule


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        ("priority_must_be_between_1_and_10", "priority must be between 1 and 10"),
        ("max_attempts_must_be_between_1_and_1000", "max_attempts must be between 1 and 1000"),
        ("payload_must_not_exceed_1_mib", "payload must not exceed 1 MiB"),
        ("end_date_must_not_be_before_start_date", "end_date must not be before start_date"),
        ("repeat_count_needs_a_repeat_interval", "repeat_count needs a repeat_interval"),
        ("depends_on_must_not_contain_null", "depends_on must not contain null"),
        ("on_dependency_dead_must_be_cancel_run_or_wait", "on_dependency_dead must be cancel run or wait"),
        (
            "schedule_type_must_be_one_time_recurring_or_repeating",
            "schedule_type must be one_time recurring or repeating",
        ),
    ],
)
def test_rule_s_name_reads_as_a_sentence(rule: str, words: str) -> None:
    assert " ".join(rule_of(rule)) == words


# Edits by a plain UPDATE.


def test_edited_schedule_is_planned_afresh(db: Database) -> None:
    task_id = insert_task(db, cron_expression="0 0 1 1 *")
    db.execute("update pgsched.tasks set cron_expression = '@hourly' where id = %s", (task_id,))
    row = task_row(db, task_id)
    assert (row["revision"], row["status"], row["scheduled_for"]) == (1, "pending", row["next_run_at"])
    assert row["scheduled_for"] - row["planned_from"] < timedelta(hours=1)


def test_edited_time_of_a_one_time_task_moves_its_due_clock(db: Database) -> None:
    task_id = insert_task(db, scheduled_for="2040-01-01 00:00+00")
    db.execute("update pgsched.tasks set scheduled_for = '2041-01-01 00:00+00' where id = %s", (task_id,))
    row = task_row(db, task_id)
    assert row["next_run_at"] == row["scheduled_for"]


def test_update_that_makes_no_sense_is_refused(db: Database) -> None:
    task_id = insert_task(db, cron_expression="@daily")
    with pytest.raises(errors.InvalidParameterValue, match="cron_expression 'never'"):
        db.execute("update pgsched.tasks set cron_expression = 'never' where id = %s", (task_id,))
