"""The life of a row: may a claim run, and what follows its outcome."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.attempt import Claimed, Finish, Missed, Outcome
from pgsched.domain.interval import Interval
from pgsched.domain.lifecycle import Admitted, Refused, conclude, judge
from tests.support.engine import NOW, claimed

MINUTE = Interval(microseconds=60_000_000)
SECOND, HOUR = timedelta(seconds=1), timedelta(hours=1)


def hourly(**columns: Any) -> Claimed:
    """A recurring row, due on the hour that NOW is."""
    return claimed(cron_expression="0 * * * *", **columns)


def refused(task: Claimed, now: datetime = NOW) -> Finish:
    verdict = judge(task, now)
    assert isinstance(verdict, Refused), verdict
    return verdict.finish


def admitted(task: Claimed, now: datetime = NOW) -> Admitted:
    verdict = judge(task, now)
    assert isinstance(verdict, Admitted), verdict
    return verdict


def between(started: datetime, finished: datetime) -> Callable[[float], datetime]:
    """The clock of an attempt from 1.0 to 2.0 of the monotonic one."""
    return {1.0: started, 2.0: finished}.__getitem__


def ended(task: Claimed, status: str, *, finished: datetime = NOW + SECOND, **outcome: Any) -> Finish:
    """What is written of an attempt that began at NOW."""
    return conclude(task, Outcome(status, 1.0, 2.0, **outcome), at=between(NOW, finished), random=lambda: 0.5)


# May it run?


def test_a_one_time_row_runs() -> None:
    assert admitted(claimed()).task == claimed()


def test_a_one_time_row_runs_however_late_it_is() -> None:
    admitted(claimed(), NOW + timedelta(days=400))


def test_a_row_that_expires_runs_until_then_and_is_cancelled_from_then_on() -> None:
    task = claimed(expires_at=NOW + HOUR)
    assert admitted(task, NOW + HOUR - SECOND).task == task
    finish = refused(task, NOW + HOUR)
    assert (finish.next_status, finish.execution) == ("cancelled", "cancelled")
    assert finish.error == "expired: it had not started by 2030-06-01 13:00:00 UTC"


def test_a_row_that_expires_and_has_no_attempt_left_is_dead() -> None:
    assert refused(claimed(expires_at=NOW, attempts=4)).next_status == "dead"


def test_the_last_attempt_runs() -> None:
    admitted(claimed(attempts=3, max_attempts=3))


def test_a_row_that_lost_its_worker_in_each_attempt_is_dead() -> None:
    finish = refused(claimed(attempts=4, max_attempts=3))
    assert (finish.next_status, finish.execution, finish.attempts) == ("dead", None, 3)
    assert "3 attempts" in str(finish.error)


def test_a_schedule_without_a_tick_is_given_back_for_the_database_to_book() -> None:
    finish = refused(hourly(scheduled_for=None))
    assert (finish.next_status, finish.execution, finish.next_tick, finish.counted) == ("pending", None, None, False)


def test_a_tick_in_time_runs() -> None:
    verdict = admitted(hourly(), NOW + SECOND)
    assert (verdict.task.scheduled_for, verdict.missed) == (NOW, ())


def test_a_tick_is_measured_from_when_it_was_due() -> None:
    jittered = hourly(jitter=Interval(microseconds=3_000_000_000), next_run_at=NOW + 0.5 * HOUR, on_missed="skip")
    verdict = admitted(jittered, NOW + 0.5 * HOUR + SECOND)
    assert (verdict.task.scheduled_for, verdict.missed) == (NOW, ())


def test_missed_ticks_become_one_run_of_the_latest() -> None:
    verdict = admitted(hourly(on_missed="once"), NOW + 3 * HOUR + SECOND)
    assert verdict.task.scheduled_for == NOW + 3 * HOUR
    assert verdict.missed == (Missed("once", 3, NOW, NOW + 3 * HOUR),)


def test_missed_ticks_that_are_to_be_skipped_move_the_row_and_run_nothing() -> None:
    verdict = judge(hourly(on_missed="skip"), NOW + timedelta(minutes=90))
    assert isinstance(verdict, Refused)
    assert (verdict.finish.next_status, verdict.finish.next_tick) == ("pending", NOW + 2 * HOUR)
    assert verdict.finish.missed == (Missed("skip", 2, NOW, NOW + 2 * HOUR),)


def test_a_second_attempt_is_never_taken_for_a_missed_tick() -> None:
    verdict = admitted(hourly(attempts=2, on_missed="skip"), NOW + 7 * HOUR)
    assert verdict.task.scheduled_for == NOW


@pytest.mark.parametrize(("policy", "ran"), [("once", NOW + 3 * HOUR), ("skip", None), ("all", NOW)])
def test_a_tick_whose_worker_was_lost_is_missed_when_the_next_has_come(policy: str, ran: datetime | None) -> None:
    task = hourly(on_missed=policy, attempts=2, lease_expired=True)
    verdict = judge(task, NOW + 3 * HOUR + timedelta(minutes=5))
    assert (verdict.task.scheduled_for if isinstance(verdict, Admitted) else None) == ran


def test_a_tick_whose_worker_was_lost_is_retried_until_the_next_comes() -> None:
    task = hourly(on_missed="skip", attempts=2, lease_expired=True)
    assert admitted(task, NOW + timedelta(minutes=59)).task.scheduled_for == NOW


def test_a_schedule_that_may_overlap_itself_makes_a_child_however_often_its_worker_was_lost() -> None:
    finish = refused(hourly(overlap="allow", attempts=9, max_attempts=1))
    assert (finish.spawned, finish.tick, finish.next_tick, finish.dead_lettered) == (True, NOW, NOW + HOUR, False)


def test_a_tick_whose_workers_were_all_lost_is_buried_and_the_schedule_goes_on() -> None:
    finish = refused(hourly(attempts=4, max_attempts=3))
    assert (finish.next_status, finish.dead_lettered, finish.counted) == ("pending", True, True)
    assert (finish.tick, finish.next_tick, finish.attempts) == (NOW, NOW + HOUR, 0)


def test_the_last_tick_whose_workers_were_all_lost_ends_the_schedule() -> None:
    task = claimed(repeat_interval=MINUTE, repeat_count=5, execution_count=4, attempts=4, max_attempts=3)
    finish = refused(task)
    assert (finish.next_status, finish.dead_lettered, finish.next_tick) == ("completed", True, None)


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"cron_expression": "0 0 30 2 *"}, "0 0 30 2 *"),
        ({"cron_expression": "nonsense"}, "nonsense"),
        ({"cron_expression": "* * * * *", "timezone": "Mars/Olympus"}, "Mars/Olympus"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_dead_and_says_why(columns: dict[str, Any], error: str) -> None:
    finish = refused(claimed(**columns))
    assert finish.next_status == "dead"
    assert error in str(finish.error)


# What follows?


def test_a_completed_one_time_task_is_over() -> None:
    finish = ended(claimed(), "completed", result="1")
    assert (finish.plain, finish.next_status, finish.execution, finish.result) == (
        True,
        "completed",
        "completed",
        "1",
    )


def test_a_failed_attempt_waits_for_its_backoff() -> None:
    finish = ended(claimed(attempts=2, backoff="fixed"), "failed", error="no luck")
    assert (finish.next_status, finish.retry_in, finish.attempts) == ("pending", pytest.approx(5.0), 2)
    assert (finish.execution, finish.error, finish.counted) == ("failed", "no luck", False)


def test_a_timed_out_attempt_is_tried_again_like_a_failed_one() -> None:
    finish = ended(claimed(), "timed_out")
    assert (finish.next_status, finish.execution) == ("pending", "timed_out")


def test_a_delay_that_the_handler_chose_wins_over_the_policy() -> None:
    assert ended(claimed(), "failed", retry_delay=0.0).retry_in == 0.0


@pytest.mark.parametrize("status", ["failed", "timed_out"])
def test_after_the_last_attempt_a_task_is_dead(status: str) -> None:
    finish = ended(claimed(attempts=3, max_attempts=3), status)
    assert (finish.next_status, finish.execution, finish.plain) == ("dead", status, False)


def test_a_delay_that_the_handler_chose_gives_no_further_attempt() -> None:
    assert ended(claimed(attempts=3, max_attempts=3), "failed", retry_delay=1.0).next_status == "dead"


def test_a_discarded_task_is_dead_at_its_first_attempt() -> None:
    finish = ended(claimed(), "discarded", error="never")
    assert (finish.next_status, finish.execution, finish.error) == ("dead", "failed", "never")


@pytest.mark.parametrize("status", ["completed", "discarded"])
def test_the_next_tick_is_computed_from_the_tick_not_from_the_run(status: str) -> None:
    finish = ended(hourly(), status, finished=NOW + timedelta(minutes=59))
    assert (finish.next_status, finish.next_tick, finish.tick) == ("pending", NOW + HOUR, NOW)
    assert (finish.attempts, finish.counted) == (0, True)


def test_a_failed_attempt_of_a_schedule_keeps_its_tick() -> None:
    finish = ended(hourly(), "failed")
    assert (finish.next_status, finish.next_tick, finish.counted) == ("pending", NOW, False)
    assert finish.retry_in is not None


def test_a_tick_that_used_up_its_attempts_is_buried_and_the_schedule_goes_on() -> None:
    finish = ended(hourly(attempts=3, max_attempts=3), "failed")
    assert (finish.next_status, finish.dead_lettered, finish.next_tick) == ("pending", True, NOW + HOUR)


def test_ticks_that_came_during_the_run_are_dropped() -> None:
    finish = ended(hourly(), "completed", finished=NOW + timedelta(minutes=150))
    assert finish.next_tick == NOW + 3 * HOUR


def test_the_last_repetition_ends_the_schedule() -> None:
    task = claimed(repeat_interval=MINUTE, repeat_count=5, execution_count=4)
    finish = ended(task, "completed")
    assert (finish.next_status, finish.next_tick, finish.plain) == ("completed", None, False)


def test_a_repetition_before_the_last_goes_on() -> None:
    task = claimed(repeat_interval=MINUTE, repeat_count=5, execution_count=3)
    assert ended(task, "completed").next_tick == NOW + timedelta(minutes=1)


def test_a_schedule_ends_at_its_end_date() -> None:
    assert ended(hourly(end_date=NOW + timedelta(minutes=59)), "completed").next_status == "completed"


def test_jitter_makes_the_next_tick_due_later_and_leaves_its_nominal_time() -> None:
    finish = ended(hourly(jitter=MINUTE), "completed")
    assert finish.next_tick == NOW + HOUR
    assert 0 <= finish.jitter < 60


def test_what_is_written_carries_the_fence_and_the_revision_of_the_claim() -> None:
    finish = ended(hourly(id=7, fencing_token=11, revision=3), "completed")
    assert (finish.id, finish.fencing_token, finish.revision) == (7, 11, 3)


# Whatever the table accepts.

INSTANTS = st.datetimes(
    datetime(1, 1, 2),
    datetime(9999, 12, 30, 23, 59, 59),
    timezones=st.just(UTC),
)
INTERVALS = st.builds(
    Interval,
    months=st.integers(0, 12_000),
    days=st.integers(0, 10_000),
    microseconds=st.integers(1_000, 2**40),
)
CRONS = st.sampled_from(
    ["* * * * *", "*/5 * * * * *", "0 0 29 2 *", "0 0 30 2 *", "30 2 * * *", "@yearly", "0 0 l * *", "x"]
)
ZONES = st.sampled_from(["UTC", "Europe/Berlin", "Pacific/Apia", "America/New_York", "Mars/Olympus"])


@st.composite
def any_row(draw: st.DrawFn) -> Claimed:
    kind = draw(st.sampled_from(["one_time", "recurring", "repeating"]))
    start, end = draw(st.none() | INSTANTS), draw(st.none() | INSTANTS)
    if start is not None and end is not None:
        start, end = min(start, end), max(start, end)
    return claimed(
        cron_expression=draw(CRONS) if kind == "recurring" else None,
        repeat_interval=draw(INTERVALS) if kind == "repeating" else None,
        repeat_count=draw(st.none() | st.integers(1, 2**31 - 1)) if kind == "repeating" else None,
        timezone=draw(ZONES),
        start_date=start,
        end_date=end,
        scheduled_for=draw(INSTANTS if kind == "one_time" else st.none() | INSTANTS),
        planned_from=draw(INSTANTS),
        attempts=draw(st.integers(1, 5)),
        max_attempts=draw(st.integers(1, 1000)),
        execution_count=draw(st.integers(0, 2**31 - 2)),
        on_missed=draw(st.sampled_from(["once", "skip", "all"])),
        catchup_window=draw(st.none() | INTERVALS),
        jitter=draw(st.none() | st.just(MINUTE)),
        backoff=draw(st.sampled_from(["exponential", "linear", "fixed"])),
        backoff_delay=draw(INTERVALS),
        backoff_max=draw(INTERVALS),
    )


@given(any_row(), INSTANTS, st.sampled_from(["completed", "failed", "timed_out", "discarded"]))
def test_every_row_that_the_table_accepts_is_judged_and_concluded(task: Claimed, now: datetime, status: str) -> None:
    verdict = judge(task, now)
    if isinstance(verdict, Refused):
        assert verdict.finish.next_status in ("pending", "dead", "completed")
        return
    finish = conclude(
        verdict.task,
        Outcome(status, 1.0, 2.0),
        at=between(now, min(now + HOUR, datetime.max.replace(tzinfo=UTC))),
        random=lambda: 0.5,
    )
    assert finish.next_status in ("pending", "dead", "completed")
    assert (finish.next_status == "pending") >= (finish.next_tick is not None)
