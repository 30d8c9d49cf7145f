"""How a task stands, from its row alone."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from pgsched.domain.interval import Interval
from pgsched.domain.records import Execution, MissedTicks, Task
from pgsched.domain.silence import Alert
from pgsched.domain.task_status import NEXT_RUNS, TaskStatus, latest, status_of

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
HOURLY = Interval(microseconds=3_600_000_000)
WORKER = UUID(int=1)

ONE_TIME = Task(
    id=7,
    task_type="digest",
    task_name=None,
    queue="default",
    priority=5,
    payload={},
    metadata={},
    tags=[],
    tenant_id=None,
    user_id=None,
    created_by=None,
    schedule_type="one_time",
    scheduled_for=NOON,
    cron_expression=None,
    timezone="UTC",
    start_date=None,
    end_date=None,
    repeat_interval=None,
    repeat_count=None,
    execution_count=0,
    on_missed="once",
    catchup_window=None,
    overlap="skip",
    jitter=None,
    enabled=True,
    status="pending",
    next_run_at=NOON,
    last_run_at=None,
    started_at=None,
    completed_at=None,
    died_at=None,
    attempts=0,
    max_attempts=3,
    backoff="exponential",
    backoff_delay=Interval(microseconds=5_000_000),
    backoff_max=HOURLY,
    backoff_factor=None,
    backoff_jitter=None,
    timeout=None,
    locked_by=None,
    locked_until=None,
    fencing_token=0,
    idempotency_key=None,
    depends_on=[],
    dependency_mode="all",
    on_dependency_dead="cancel",
    waiting_for=0,
    fired=None,
    concurrency_key=None,
    parent_id=None,
    progress=None,
    result=None,
    last_error=None,
    planned_from=NOON - HOUR,
    created_at=NOON - HOUR,
    updated_at=NOON - HOUR,
    alert_if_no_success_for=None,
    alert_if_running_for=None,
    expires_at=None,
)
DAILY = replace(ONE_TIME, schedule_type="recurring", cron_expression="0 12 * * *")
REPEATING = replace(ONE_TIME, schedule_type="repeating", repeat_interval=HOURLY)
BOTH = pytest.mark.parametrize(("task", "step"), [(DAILY, 24 * HOUR), (REPEATING, HOUR)], ids=["cron", "interval"])

EXECUTION = Execution(
    task_id=7,
    task_type="digest",
    queue="default",
    attempt=1,
    fencing_token=1,
    scheduled_for=NOON,
    worker_id=WORKER,
    status="failed",
    started_at=NOON,
    finished_at=NOON + HOUR,
    duration_ms=3_600_000.0,
    result=None,
    error="no",
    hostname="worker-1",
    pid=4711,
)
ALERT = Alert(
    task_id=7,
    task_type="digest",
    queue="default",
    kind="silent",
    since=NOON,
    seconds=7_200.0,
    limit=HOURLY,
    row_id=7,
)
MISSED = MissedTicks(task_id=7, reason="once", ticks=3, first_tick=NOON, next_tick=None, noted_at=NOON)


def status(task: Task, *, now: datetime = NOON, **columns: Any) -> TaskStatus:
    return status_of(replace(task, **columns), [], [], [], now=now)


def running(task: Task, **columns: Any) -> TaskStatus:
    running: dict[str, Any] = {"status": "running", "started_at": NOON, "locked_by": WORKER, "attempts": 1}
    return status(task, **running | columns)


# Schedules.


@BOTH
def test_a_waiting_schedule_has_five_next_runs_from_its_tick_on(task: Task, step: timedelta) -> None:
    assert NEXT_RUNS == 5
    assert status(task).next_runs == [NOON + at * step for at in range(5)]


@BOTH
def test_a_schedule_without_a_tick_is_told_from_when_it_was_made(task: Task, step: timedelta) -> None:
    found = status(task, scheduled_for=None, planned_from=NOON)
    assert found.next_runs == [NOON + at * step for at in range(5)]


@BOTH
def test_the_tick_that_runs_is_not_among_the_next_runs(task: Task, step: timedelta) -> None:
    assert running(task).next_runs == [NOON + at * step for at in range(1, 6)]


@BOTH
@pytest.mark.parametrize(("on_missed", "first"), [("skip", 4), ("once", 3), ("all", 0)])
def test_an_overdue_schedule_is_told_by_what_becomes_of_its_ticks(
    task: Task, step: timedelta, on_missed: str, first: int
) -> None:
    found = status(task, on_missed=on_missed, now=NOON + 3.5 * step)
    assert found.next_runs == [NOON + at * step for at in range(first, first + 5)]


@BOTH
def test_ticks_that_come_while_it_runs_are_not_among_the_next_runs(task: Task, step: timedelta) -> None:
    assert running(task, now=NOON + 2.5 * step).next_runs[0] == NOON + 3 * step


def test_a_schedule_whose_children_run_its_ticks_is_running() -> None:
    assert status_of(DAILY, [], [], [], now=NOON, ticks_running=True).is_running


def test_a_schedule_edited_while_it_runs_is_told_from_the_edit_on() -> None:
    edited = NOON + 1.5 * HOUR
    found = running(DAILY, now=edited, cron_expression="0 * * * *", planned_from=edited)
    assert found.next_runs == [NOON + hours * HOUR for hours in range(2, 7)]


def test_a_schedule_edited_while_it_runs_counts_the_run_towards_its_times() -> None:
    found = running(REPEATING, repeat_count=3, execution_count=1, planned_from=NOON + HOUR, start_date=NOON)
    assert found.next_runs == [NOON + HOUR]


@BOTH
def test_a_retry_that_waits_is_of_its_tick(task: Task, step: timedelta) -> None:
    found = status(task, attempts=1, next_run_at=NOON + timedelta(minutes=5))
    assert found.next_runs[:2] == [NOON, NOON + step]


@BOTH
def test_a_paused_schedule_has_no_next_runs(task: Task, step: timedelta) -> None:
    assert status(task, enabled=False).next_runs == []


@BOTH
@pytest.mark.parametrize("over", ["completed", "dead", "cancelled", "blocked"])
def test_a_schedule_that_is_over_or_blocked_has_no_next_runs(task: Task, step: timedelta, over: str) -> None:
    assert status(task, status=over, next_run_at=None).next_runs == []


@BOTH
def test_a_schedule_that_ends_soon_has_only_the_runs_that_are_left(task: Task, step: timedelta) -> None:
    assert status(task, end_date=NOON + step).next_runs == [NOON, NOON + step]
    assert running(task, end_date=NOON + step).next_runs == [NOON + step]
    assert running(task, end_date=NOON).next_runs == []


def test_runs_that_are_done_count_towards_the_times() -> None:
    assert status(REPEATING, repeat_count=5, execution_count=3).next_runs == [NOON, NOON + HOUR]
    assert running(REPEATING, repeat_count=5, execution_count=3).next_runs == [NOON + HOUR]
    assert running(REPEATING, repeat_count=5, execution_count=4).next_runs == []


def test_times_that_are_used_up_leave_no_runs_also_before_it_is_planned() -> None:
    assert status(REPEATING, repeat_count=3, execution_count=3).next_runs == []
    assert status(REPEATING, repeat_count=3, execution_count=5, scheduled_for=None).next_runs == []


def test_next_runs_are_ticks_without_jitter() -> None:
    found = status(DAILY, jitter=HOURLY, next_run_at=NOON + HOUR / 2)
    assert found.next_runs[0] == NOON


def test_a_schedule_is_told_in_words() -> None:
    assert status(DAILY, timezone="Europe/Berlin").schedule.startswith("every day at 12:00, Europe/Berlin time; ")
    assert status(REPEATING, repeat_count=3).schedule == "every hour, 3 times, in elapsed time"


# One-time tasks.


def test_a_waiting_one_time_task_runs_once() -> None:
    found = status(ONE_TIME)
    assert (found.schedule, found.next_runs, found.is_running) == ("once", [NOON], False)


def test_a_one_time_task_that_waits_for_its_retry_runs_then() -> None:
    assert status(ONE_TIME, attempts=1, next_run_at=NOON + HOUR).next_runs == [NOON + HOUR]


def test_a_one_time_task_that_runs_has_no_next_run() -> None:
    assert running(ONE_TIME).next_runs == []


def test_a_paused_one_time_task_has_no_next_run() -> None:
    assert status(ONE_TIME, enabled=False).next_runs == []


@pytest.mark.parametrize("over", ["completed", "dead", "cancelled", "blocked"])
def test_a_one_time_task_that_is_over_or_blocked_has_no_next_run(over: str) -> None:
    assert status(ONE_TIME, status=over, next_run_at=None).next_runs == []


# What cannot be planned.


@pytest.mark.parametrize("state", ["pending", "dead"])
@pytest.mark.parametrize(
    ("columns", "words"),
    [
        ({"cron_expression": "0 0 31 2 *"}, "can never fire"),
        ({"timezone": "Mars/Olympus"}, "timezone must be a name of the IANA time zone database"),
    ],
)
def test_what_is_wrong_takes_the_place_of_the_words(state: str, columns: dict[str, Any], words: str) -> None:
    found = status(DAILY, status=state, **columns)
    assert words in found.schedule
    assert found.next_runs == []


# The rest.


def test_only_a_task_that_runs_is_running() -> None:
    assert running(DAILY).is_running
    assert running(DAILY, enabled=False).is_running
    assert not status(DAILY).is_running


def test_the_last_execution_is_the_first_of_the_list() -> None:
    earlier = replace(EXECUTION, attempt=0)
    assert status_of(DAILY, [EXECUTION, earlier], [], [], now=NOON).last_execution is EXECUTION
    assert status(DAILY).last_execution is None


def test_as_dict_has_the_columns_and_the_status_as_json_has_them() -> None:
    found = status_of(DAILY, [EXECUTION], [MISSED], [ALERT], now=NOON).as_dict()
    assert found.items() >= DAILY.as_dict().items()
    assert found.keys() - DAILY.as_dict().keys() == {
        "schedule",
        "is_running",
        "running",
        "next_runs",
        "last_execution",
        "executions",
        "missed_ticks",
        "alerts",
        "awaits",
        "wakes_at",
        "version",
    }
    assert found["next_runs"][0] == "2026-06-01T12:00:00Z"
    assert found["last_execution"] == found["executions"][0] == EXECUTION.as_dict()
    assert found["missed_ticks"] == [MISSED.as_dict()]
    assert found["alerts"] == [ALERT.as_dict()]


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("silent", "no success since 2026-06-01 12:00:00 UTC; alert_if_no_success_for is 3600 secs"),
        ("running", "an attempt has been running since 2026-06-01 12:00:00 UTC; alert_if_running_for is 3600 secs"),
    ],
)
def test_alert_says_what_is_wrong_since_when_and_by_which_limit(kind: str, words: str) -> None:
    assert replace(ALERT, kind=kind).problem == words


def test_what_is_under_way_is_told_beside_what_ended_last() -> None:
    under_way = replace(EXECUTION, status="running", attempt=3, finished_at=None, duration_ms=None)
    earlier = replace(EXECUTION, attempt=1)
    executions = latest([under_way, EXECUTION, earlier], 1)
    assert executions == [under_way, EXECUTION]
    found = status_of(DAILY, executions, [], [], now=NOON)
    assert (found.running, found.last_execution) == (under_way, EXECUTION)
    assert found.as_dict()["running"]["finished_at"] is None


@pytest.mark.parametrize(
    ("hostname", "worker_id", "who"),
    [
        ("worker-1", WORKER, "worker-1 (pid 4711)"),
        (None, WORKER, f"worker {WORKER}"),
        (None, None, None),
    ],
)
def test_who_made_an_attempt_is_its_machine_or_else_its_worker(
    hostname: str | None, worker_id: UUID | None, who: str | None
) -> None:
    assert replace(EXECUTION, hostname=hostname, worker_id=worker_id).who == who
