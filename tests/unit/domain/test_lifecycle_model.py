"""The life of one row under random claims, outcomes, lost workers and late writers, beside a small model of it.

The model holds what the statements hold: the lease, the token, the fence. What must stay true is stated once, in the
invariants.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from pgsched.domain.attempt import Claimed, Finish, Outcome
from pgsched.domain.interval import Interval
from pgsched.domain.lifecycle import Refused, conclude, judge
from tests.support.engine import NOW, claimed

LEASE = timedelta(seconds=30)
ENDS = ("completed", "dead", "cancelled")


class Row:
    """What the table holds of one task."""

    def __init__(self, task: Claimed) -> None:
        self.task = task._replace(attempts=0, fencing_token=0)
        self.status = "pending"
        self.next_run_at: datetime | None = task.scheduled_for
        self.locked_until: datetime | None = None
        self.runs: list[tuple[datetime, str]] = []
        """The history: (tick, status of the execution)."""
        self.dead_lettered: list[datetime] = []

    def claim(self, now: datetime) -> Claimed:
        self.status, self.locked_until = "running", now + LEASE
        self.task = self.task._replace(attempts=self.task.attempts + 1, fencing_token=self.task.fencing_token + 1)
        return self.task

    def write(self, finish: Finish, now: datetime) -> bool:
        """What the finish statements do; whether the finish passed the fence."""
        if finish.fencing_token != self.task.fencing_token or self.status != "running":
            return False
        if finish.execution is not None:
            assert finish.tick is not None
            self.runs.append((finish.tick, finish.execution))
        if finish.dead_lettered:
            assert finish.tick is not None
            self.dead_lettered.append(finish.tick)
        self.status, self.locked_until = finish.next_status, None
        if self.status != "pending":
            self.next_run_at = None
        elif finish.retry_in is not None:
            self.next_run_at = now + timedelta(seconds=finish.retry_in)
        else:
            assert finish.next_tick is not None
            self.next_run_at = finish.next_tick + timedelta(seconds=finish.jitter)
        self.task = self.task._replace(
            attempts=finish.attempts,
            execution_count=self.task.execution_count + finish.counted,
            scheduled_for=finish.next_tick or self.task.scheduled_for,
        )
        return True


class LifeOfARow(RuleBasedStateMachine):
    """Workers claim, run, finish, die and come back; time only goes on."""

    in_hand = Bundle("in_hand")

    @initialize(
        kind=st.sampled_from(["one_time", "cron", "every"]),
        max_attempts=st.integers(1, 3),
        repeat_count=st.none() | st.integers(1, 4),
        on_missed=st.sampled_from(["once", "skip", "all"]),
    )
    def insert(self, kind: str, max_attempts: int, repeat_count: int | None, on_missed: str) -> None:
        self.now = NOW
        self.ends_seen: tuple[str, int] | None = None
        self.row = Row(
            claimed(
                max_attempts=max_attempts,
                on_missed=on_missed,
                cron_expression="*/10 * * * *" if kind == "cron" else None,
                repeat_interval=Interval(microseconds=600_000_000) if kind == "every" else None,
                repeat_count=repeat_count if kind == "every" else None,
                backoff="fixed",
            )
        )

    @rule(seconds=st.sampled_from([1, 31, 600, 4000]))
    def wait(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)

    def claimable(self) -> bool:
        row = self.row
        due = row.next_run_at is not None and row.next_run_at <= self.now
        return due and (row.locked_until is None or row.locked_until < self.now)

    @precondition(lambda self: self.claimable())
    @rule(target=in_hand)
    def claim(self) -> Claimed:
        before = self.row.task.fencing_token
        task = self.row.claim(self.now)
        assert task.fencing_token > before
        return task

    @rule(task=in_hand, status=st.sampled_from(["completed", "failed", "timed_out", "discarded", "snoozed"]))
    def run_and_finish(self, task: Claimed, status: str) -> None:
        """Any worker that ever claimed the row may come back with its outcome, however late."""
        verdict = judge(task, self.now)
        if isinstance(verdict, Refused):
            finish = verdict.finish
        else:
            assert verdict.task.attempts <= task.max_attempts
            finish = conclude(verdict.task, Outcome(status, 0, 1), at=lambda _: self.now, random=lambda: 0.5)
        holds_it = task.fencing_token == self.row.task.fencing_token and self.row.status == "running"
        assert self.row.write(finish, self.now) == holds_it

    @rule(task=in_hand)
    def release(self, task: Claimed) -> None:
        if task.fencing_token == self.row.task.fencing_token and self.row.status == "running":
            self.row.status, self.row.locked_until = "pending", None
            self.row.task = self.row.task._replace(attempts=max(task.attempts - 1, 0))

    @invariant()
    def due_if_and_only_if_pending_or_running(self) -> None:
        assert (self.row.next_run_at is not None) == (self.row.status in ("pending", "running"))

    @invariant()
    def what_has_ended_stays_ended(self) -> None:
        if self.row.status in ENDS:
            end = (self.row.status, len(self.row.runs))
            assert self.ends_seen in (None, end)
            self.ends_seen = end

    @invariant()
    def a_tick_ends_once(self) -> None:
        done = [tick for tick, status in self.row.runs if status == "completed"]
        assert len({*done, *self.row.dead_lettered}) == len(done) + len(self.row.dead_lettered)

    @invariant()
    def ticks_never_go_back(self) -> None:
        ticks = [tick for tick, _ in self.row.runs]
        assert ticks == sorted(ticks)

    @invariant()
    def no_tick_is_tried_more_often_than_allowed(self) -> None:
        counted = [tick for tick, status in self.row.runs if status != "snoozed"]
        for tick in set(counted):
            assert counted.count(tick) <= self.row.task.max_attempts

    @invariant()
    def no_more_ticks_than_repetitions(self) -> None:
        limit = self.row.task.repeat_count
        if limit is not None:
            assert self.row.task.execution_count <= limit
            assert (self.row.status == "completed") == (self.row.task.execution_count == limit)

    @invariant()
    def a_one_time_task_is_never_buried(self) -> None:
        if self.row.task.schedule_type == "one_time":
            assert not self.row.dead_lettered


TestLifeOfARow = LifeOfARow.TestCase
TestLifeOfARow.settings = settings(max_examples=150, stateful_step_count=40)
