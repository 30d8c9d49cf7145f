"""Random lives of many rows on a real server, beside a model of them in memory, compared after every step.

Whatever a worker or a person does is done by the statements and functions that they use. Ticks are long past and
``on_missed`` is ``all``, so that everything that waits is due, but for what lives again: that is in the future.
``PGSCHED_MODEL_CASES`` says how many lives there are.
"""

from __future__ import annotations

import asyncio
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, ClassVar
from uuid import UUID

import psycopg
import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

from pgsched.client.client import Client
from pgsched.db.session import Session
from pgsched.db.worker import claims, completions, leases
from pgsched.db.worker.claims import Probe
from pgsched.db.worker.leases import HeartbeatConnection, Identity
from pgsched.db.worker.locking import (
    LeaseLater,
    LockingSession,
    LostAttempt,
    finish_locked,
    insert_lost,
    lease_locked,
    mark_lock_lost,
)
from pgsched.domain.attempt import PRIORITIES, Claimed, Finish, Outcome
from pgsched.domain.errors import PgschedError, TaskNotFound, TransitionRefused
from pgsched.domain.lifecycle import Refused, conclude, judge
from tests.support.tables import database, insert_task, restoring

SHORT = int(os.environ.get("PGSCHED_MODEL_CASES", "10"))
LONG = 600
STEPS = 40
QUEUES = ("a", "b")
WORKERS = (UUID(int=1), UUID(int=2))
LEASE = 600.0
START = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
picks = st.integers(0, 10**6)
"""Which of the rows, or of the claims in hand, by its place."""


@dataclass
class Row:
    """What the model knows of a task."""

    schedule: bool = False
    """It repeats ``times`` times."""
    times: int | None = None
    queue: str = "a"
    priority: int = 5
    payload: int = 0
    max_attempts: int = 3
    parent: int | None = None
    status: str = "pending"
    enabled: bool = True
    due: bool = True
    attempts: int = 0
    token: int = 0
    grows: bool = False
    """The token has grown, nobody knows by how much."""
    unbegun: bool = False
    """Its lease was taken before its attempt began."""
    lock_lost: bool = False
    """The transaction that had locked it was lost."""
    count: int = 0
    revision: int = 0
    owner: UUID | None = None
    expired: bool = False
    history: list[tuple[int, str]] = field(default_factory=list)

    def claimable(self) -> bool:
        waits = self.status == "pending" or (self.status == "running" and self.expired)
        return waits and self.due and self.enabled

    def shown(self) -> dict[str, Any]:
        held = self.status == "running"
        return {
            "status": self.status,
            "enabled": self.enabled,
            "queue": self.queue,
            "priority": self.priority,
            "payload": {"number": self.payload},
            "due": self.due and self.status in ("pending", "running"),
            "booked": True,
            "attempts": self.attempts,
            "fencing_token": self.token,
            "execution_count": self.count,
            "revision": self.revision,
            "repeat_count": self.times,
            "max_attempts": self.max_attempts,
            "parent_id": self.parent,
            "locked_by": self.owner if held else None,
            "expired": self.expired and held,
        }


SHOW = """
select id, status::text, enabled, queue::text, priority::int, payload::jsonb as payload,
  coalesce(next_run_at <= now(), false) as due, scheduled_for is not null as booked, attempts::int, fencing_token,
  execution_count::int, revision, repeat_count::int, max_attempts::int, parent_id, locked_by,
  coalesce(locked_until < now(), false) as expired
from pgsched.tasks order by id"""


def _may_be_edited(row: Row) -> bool:
    """A cancelled schedule would not run, whatever is changed of it."""
    return not (row.schedule and row.status == "cancelled")


class Model(RuleBasedStateMachine):
    """Two workers, two queues, and people with their hands on the rows."""

    dsn: ClassVar[str]
    look: ClassVar[Callable[[Model], None]] = lambda self: None
    """What a negative control does to the table before it is compared."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.book = database(self.dsn)
        self.db: psycopg.Connection[dict[str, Any]] = self.book.__enter__()
        self.db.execute("truncate pgsched.tasks, pgsched.executions, pgsched.missed_ticks, pgsched.queues")
        self.client = Client(self.dsn, pool_size=1)
        self.session = Session(dsn=self.dsn, name="pgsched model")
        self.locking = LockingSession(dsn=self.dsn, name="pgsched model lock", timeout=30.0, lease=LEASE)
        self.rows: dict[int, Row] = {}
        self.gone: dict[int, list[tuple[int, str]]] = {}
        self.born: list[Row] = []
        """Children that the last step must have made."""
        self.paused: set[str] = set()
        self.hands: list[tuple[UUID, Claimed]] = []
        """Claims of which an outcome may still come, however late."""
        self.locked: set[int] = set()
        """Rows that an open transaction has locked."""

    def teardown(self) -> None:
        self.runner.run(self.session.close())
        self.runner.run(self.locking.close())
        self.runner.close()
        self.client.close()
        self.book.__exit__(None, None, None)

    # What workers do.

    @rule(worker=st.sampled_from(WORKERS), queue=st.sampled_from(QUEUES), limit=st.sampled_from([1, 2, 50]))
    def claim(self, worker: UUID, queue: str, limit: int) -> None:
        claimed = self.runner.run(claims.claim(self.session, identity(worker), _probes(queue), limit)).tasks
        self._check(claimed, limit, self._free(queue))
        for task in claimed:
            row = self.rows[task.id]
            counts = not (row.status == "running" and row.unbegun)
            if row.status == "running" and counts:
                row.history.append((row.token, "lost"))
            self._lease(worker, task, row, counts=counts)

    def _free(self, queue: str) -> dict[int, Row]:
        """Rows that a claim may take."""
        if queue in self.paused:
            return {}
        return {
            id: row for id, row in self.rows.items() if row.queue == queue and row.claimable() and id not in self.locked
        }

    def _check(self, claimed: Sequence[Claimed], limit: int, free: dict[int, Row]) -> None:
        assert len(claimed) == min(limit, len(free)), (claimed, free)
        assert {task.id for task in claimed} <= set(free)
        left = [row.priority for id, row in free.items() if id not in {task.id for task in claimed}]
        assert min((task.priority for task in claimed), default=10) >= max(left, default=1), "the highest come first"

    def _lease(self, worker: UUID, task: Claimed, row: Row, *, counts: bool = True, unbegun: bool = False) -> None:
        """A row is leased by a claim, or by the transaction that had locked it."""
        row.status, row.owner, row.expired, row.unbegun, row.lock_lost = "running", worker, False, unbegun, False
        assert task.fencing_token > row.token, "tokens grow"
        row.attempts, row.token = row.attempts + counts, task.fencing_token
        assert (task.attempts, task.payload) == (row.attempts, {"number": row.payload})
        self._judge(worker, task, row)

    @rule(
        worker=st.sampled_from(WORKERS),
        queue=st.sampled_from(QUEUES),
        limit=st.sampled_from([1, 2, 50]),
        meanwhile=st.none() | st.sampled_from(WORKERS),
        ends=st.lists(st.sampled_from(["finished", "finished", "leased", "unbegun", "let go"]), min_size=1, max_size=5),
        lost=st.sampled_from([False, False, True]),
    )
    def lock(self, worker: UUID, queue: str, limit: int, meanwhile: UUID | None, ends: list[str], lost: bool) -> None:
        """Rows are locked: each ends in that transaction, gets its lease there or is let go; or it is lost."""
        batch = self.runner.run(
            self.locking.lock(
                identity(worker), _probes(queue), limit, max_bytes=2**24, set_aside=(), locked_types=["mail"]
            )
        )
        assert batch is not None
        self._check(batch.tasks, limit, {id: row for id, row in self._free(queue).items() if row.status == "pending"})
        for task in batch.tasks:
            row = self.rows[task.id]
            assert (task.attempts, task.payload) == (row.attempts + 1, {"number": row.payload})
            if task.lockable:
                assert not row.schedule
                assert row.attempts + 1 < row.max_attempts
                assert not row.lock_lost
        if not batch.tasks:
            return
        self.locked = {task.id for task in batch.tasks}
        if meanwhile is not None:
            self.claim(meanwhile, queue, 1)
        self.locked = set()
        if lost:
            self._lose(worker, batch.tasks)
        else:
            self._commit(worker, batch.tasks, ends)

    def _lose(self, worker: UUID, tasks: Sequence[Claimed]) -> None:
        self.runner.run(self.locking.execute("rollback", {}))
        now = monotonic()
        begun = [task for task in tasks if task.lockable]
        self.runner.run(insert_lost(self.session, worker, [LostAttempt(task, now, now) for task in begun], now))
        for task in tasks:
            self.rows[task.id].lock_lost = True
        for task in begun:
            self.rows[task.id].history.append((task.fencing_token, "lost"))

    def _commit(self, worker: UUID, tasks: Sequence[Claimed], ends: list[str]) -> None:
        now = monotonic()
        finishes, later, marked = list[Finish](), list[LeaseLater](), list[Claimed]()
        for task, end in zip(tasks, itertools.cycle(ends), strict=False):
            if end == "let go":
                marked += [task] if task.lock_lost else []
            elif end == "finished" and task.lockable:
                outcome = Outcome("completed", now, now)
                finishes.append(conclude(task, outcome, at=lambda _: datetime.now(UTC), random=lambda: 0.5))
            else:
                later.append(LeaseLater(task, 0.0, unbegun=end == "unbegun" and task.lockable))
        commands = [lease_locked(identity(worker), later)] if later else []
        commands += [mark_lock_lost(marked)] if marked else []
        commands += [finish_locked(worker, finishes, now)] if finishes else []
        self.runner.run(self.locking.commit(commands))
        for finish in finishes:
            assert finish.plain
            row = self.rows[finish.id]
            row.token, row.attempts = finish.fencing_token, row.attempts + 1
            row.history.append((row.token, "completed"))
            self._over(row, finish.id, died=False, dead_attempts=0)
        for one in later:
            self._lease(worker, one.task, self.rows[one.task.id], unbegun=one.unbegun)

    def _judge(self, worker: UUID, task: Claimed, row: Row) -> None:
        verdict = judge(task, datetime.now(UTC))
        if not isinstance(verdict, Refused):
            assert row.attempts <= row.max_attempts
            self.hands.append((worker, verdict.task))
            return
        assert self._write(worker, verdict.finish) == 1
        if row.attempts > row.max_attempts:
            self._over(row, task.id, died=True, dead_attempts=row.max_attempts)
        else:
            assert row.times is not None
            assert row.count >= row.times
            row.status, row.attempts = "completed", 0

    @precondition(lambda self: self.hands)
    @rule(pick=picks, status=st.sampled_from(["completed", "completed", "failed", "timed_out", "discarded", "snoozed"]))
    def finish(self, pick: int, status: str) -> None:
        """Of any claim that was ever made: most come in time, some long after another worker took the row over."""
        worker, task = self.hands.pop(pick % len(self.hands))
        row = self.rows.get(task.id)
        passes = row is not None and row.status == "running" and row.token == task.fencing_token
        now = monotonic()
        outcome = Outcome(status, now, now, error=None if status == "completed" else "no luck")
        written = conclude(task, outcome, at=lambda _: datetime.now(UTC), random=lambda: 0.5)
        assert self._write(worker, written) == passes
        if row is None or not passes:
            return
        shown = {"discarded": "failed", "snoozed": "cancelled"}.get(status, status)
        row.history.append((row.token, shown))
        if status == "snoozed":
            row.status, row.attempts = "pending", task.attempts - 1
            return
        died = status == "discarded" or (status != "completed" and task.attempts >= task.max_attempts)
        if status != "completed" and not died:
            row.status = "pending"
        else:
            self._over(row, task.id, died=died, dead_attempts=min(row.attempts, row.max_attempts))

    def _over(self, row: Row, id: int, *, died: bool, dead_attempts: int) -> None:
        """A tick is over."""
        if not row.schedule:
            row.status = "dead" if died else "completed"
            row.attempts = dead_attempts if died else row.attempts
            row.count += not died
            return
        self._bury(row, id, dead_attempts if died else None)
        row.count, row.attempts = row.count + 1, 0
        row.status = "completed" if row.count >= (row.times or 10**9) else "pending"

    def _bury(self, row: Row, id: int, attempts: int | None) -> None:
        if attempts is not None:
            attempts = min(attempts, row.max_attempts)
            # It keeps which tick it was.
            self.born.append(self._copy(row, id, status="dead", attempts=attempts, count=row.count))

    def _copy(self, row: Row, id: int, **more: Any) -> Row:
        same = {name: getattr(row, name) for name in ("queue", "priority", "payload", "max_attempts")}
        return Row(**same, parent=id, **more)

    def _write(self, worker: UUID, finish: Finish) -> int:
        return self.runner.run(completions.write(self.session, worker, [finish], [], [], monotonic()))

    @precondition(lambda self: self.hands)
    @rule(pick=picks)
    def release(self, pick: int) -> None:
        worker, task = self.hands.pop(pick % len(self.hands))
        row = self.rows.get(task.id)
        passes = row is not None and row.status == "running" and row.token == task.fencing_token
        assert self.runner.run(leases.release(self.session, worker, [task])) == passes
        if row is not None and passes:
            row.status, row.attempts = "pending", row.attempts - 1

    @precondition(lambda self: self.hands)
    @rule(pick=picks)
    def beat(self, pick: int) -> None:
        worker, task = self.hands[pick % len(self.hands)]
        row = self.rows.get(task.id)
        passes = row is not None and row.status == "running" and row.token == task.fencing_token
        pulse = HeartbeatConnection(dsn=self.dsn, identity=identity(worker))
        assert (task.id in pulse.beat([task], running=1, age=1)) == passes
        pulse.close()
        self.db.execute("delete from pgsched.workers")
        if row is not None and passes:
            row.expired = False

    @rule(pick=picks)
    def expire(self, pick: int) -> None:
        running = [id for id, row in self.rows.items() if row.status == "running"]
        if running:
            id = running[pick % len(running)]
            self.db.execute("update pgsched.tasks set locked_until = now() - interval '1 second' where id = %s", (id,))
            self.rows[id].expired = True

    # What people do.

    @rule(
        queue=st.sampled_from(QUEUES),
        priority=st.sampled_from([1, 5, 10]),
        max_attempts=st.integers(1, 3),
        times=st.none() | st.integers(1, 3),
        later=st.booleans(),
    )
    def insert(self, queue: str, priority: int, max_attempts: int, times: int | None, later: bool) -> None:
        columns: dict[str, Any] = {"scheduled_for": LATER if later else START, "payload": '{"number": 0}'}
        if times is not None:
            columns |= {"repeat_interval": "1 hour", "repeat_count": times, "on_missed": "all"}
        columns |= {"queue": queue, "priority": priority, "max_attempts": max_attempts}
        id = insert_task(self.db, backoff="fixed", backoff_delay="0", **columns)
        self.rows[id] = Row(
            schedule=times is not None,
            times=times,
            queue=queue,
            priority=priority,
            max_attempts=max_attempts,
            due=not later,
        )

    @rule(pick=picks, number=st.integers(1, 9))
    def edit(self, pick: int, number: int) -> None:
        def change(id: int, row: Row) -> None:
            row.payload = number

        self._by_hand(pick, lambda id: self.client.update(id, {"number": number}), _may_be_edited, change)

    @rule(pick=picks, later=st.booleans())
    def move(self, pick: int, later: bool) -> None:
        """Give a one-time task another time; a schedule has none of its own."""

        def change(id: int, row: Row) -> None:
            if row.status == "pending":
                row.due = not later

        at = datetime.now(UTC) + timedelta(days=1) if later else START + timedelta(seconds=next(_seconds))
        self._by_hand(pick, lambda id: self.client.update(id, at=at), lambda row: not row.schedule, change)

    @rule(pick=picks, times=st.integers(1, 3))
    def replan(self, pick: int, times: int) -> None:
        def change(id: int, row: Row) -> None:
            if row.times == times:
                return
            row.times, row.revision = times, row.revision + 1
            if row.status == "completed":
                row.due = False
            if row.status in ("pending", "completed"):
                row.status = "completed" if row.count >= times else "pending"
                row.attempts = 0 if row.count >= times else row.attempts

        schedules = [id for id, row in self.rows.items() if row.schedule]
        if schedules:
            id = schedules[pick % len(schedules)]
            if not _may_be_edited(self.rows[id]):
                with pytest.raises(TransitionRefused, match="is cancelled"):
                    self.client.update(id, times=times)
            else:
                self.client.update(id, times=times)
                change(id, self.rows[id])

    @rule(pick=picks)
    def time_passes(self, pick: int) -> None:
        """The first tick of a schedule, or the time of a task, has come: its grid begins there."""
        waiting = [id for id, row in self.rows.items() if row.status == "pending" and not row.due]
        if waiting:
            id = waiting[pick % len(waiting)]
            with restoring(self.db):
                self.db.execute(
                    "update pgsched.tasks set scheduled_for = %(at)s, next_run_at = %(at)s, start_date ="
                    " case when schedule_type = 'repeating' then %(at)s end, planned_from = %(at)s where id = %(id)s",
                    {"id": id, "at": START},
                )
            self.rows[id].due = True

    @rule(pick=picks)
    def cancel(self, pick: int) -> None:
        def change(id: int, row: Row) -> None:
            if row.status == "running":
                row.history.append((row.token, "cancelled"))
            row.status, row.grows = "cancelled", True

        self._by_hand(pick, self.client.cancel, lambda row: row.status in ("pending", "running"), change)

    @rule(pick=picks)
    def retry(self, pick: int) -> None:
        def may(row: Row) -> bool:
            return row.status in ("dead", "cancelled") or (row.status == "pending" and row.attempts > 0)

        def change(id: int, row: Row) -> None:
            if row.schedule and row.status == "cancelled":
                row.revision += 1  # it is booked anew
            row.due = not row.schedule or row.status == "pending"
            row.status, row.attempts, row.enabled = "pending", 0, True

        self._by_hand(pick, self.client.retry, may, change)

    @rule(pick=picks)
    def run_now(self, pick: int) -> None:
        def change(id: int, row: Row) -> None:
            if not row.schedule and row.status == "pending":
                row.due = row.enabled = True
            else:
                self.born.append(self._copy(row, id))

        may: Callable[[Row], bool] = lambda row: row.schedule or row.status != "running"  # noqa: E731
        self._by_hand(pick, self.client.run_now, may, change)

    @rule(pick=picks, on=st.booleans())
    def enable(self, pick: int, on: bool) -> None:
        def change(id: int, row: Row) -> None:
            row.enabled = on

        self._by_hand(pick, self.client.enable if on else self.client.disable, lambda row: True, change)

    @rule(pick=picks)
    def delete(self, pick: int) -> None:
        def change(id: int, row: Row) -> None:
            self.gone[id] = self.rows.pop(id).history

        self._by_hand(pick, self.client.delete, lambda row: row.status != "running", change)

    @rule(queue=st.sampled_from(QUEUES), paused=st.booleans())
    def pause(self, queue: str, paused: bool) -> None:
        (self.client.pause_queue if paused else self.client.resume_queue)(queue)
        (self.paused.add if paused else self.paused.discard)(queue)

    def _by_hand(
        self, pick: int, act: Callable[[int], object], may: Callable[[Row], bool], change: Callable[[int, Row], None]
    ) -> None:
        """Do one thing to one row, deleted ones included; it must be refused if and only if the model says so."""
        ids = [*self.rows, *self.gone]
        if not ids:
            return
        id = ids[pick % len(ids)]
        row = self.rows.get(id)
        expected: type[PgschedError] | None = None
        if row is None:
            expected = TaskNotFound
        elif not may(row):
            expected = TransitionRefused
        if expected is not None:
            with pytest.raises(expected):
                act(id)
        elif row is not None:
            act(id)
            row.lock_lost = False  # an edit wipes that out
            change(id, row)

    @invariant()
    def the_table_is_as_the_model_says(self) -> None:
        type(self).look(self)
        found = {row.pop("id"): row for row in self.db.execute(SHOW).fetchall()}
        for id in sorted(found.keys() - self.rows.keys()):
            assert self.born, f"row {id} came from nowhere: {found[id]}"
            self.rows[id] = self.born.pop(0)
        assert not self.born, "a child is missing"
        for id, row in self.rows.items():
            if row.grows:
                assert found[id]["fencing_token"] > row.token, "tokens grow"
                row.token, row.grows = found[id]["fencing_token"], False
        assert found == {id: row.shown() for id, row in self.rows.items()}
        history: dict[int, list[tuple[int, str]]] = {}
        for one in self.db.execute("select task_id, fencing_token, status from pgsched.executions order by 1, 2"):
            history.setdefault(one["task_id"], []).append((one["fencing_token"], one["status"]))
        known = {id: row.history for id, row in self.rows.items()} | self.gone
        assert history == {id: runs for id, runs in known.items() if runs}


_seconds: Iterator[int] = itertools.count(1)


def _probes(queue: str) -> list[Probe]:
    return [Probe(queue, priority) for priority in PRIORITIES]


def identity(worker: UUID) -> Identity:
    return Identity(
        id=worker,
        hostname="h",
        pid=1,
        queues=QUEUES,
        task_types=("mail",),
        declared_keys=(),
        concurrency=1,
        lease=LEASE,
    )


def run(dsn: str, cases: int, look: Callable[[Model], None] | None = None) -> None:
    machine = type("Lives", (Model,), {"dsn": dsn} | ({"look": look} if look else {}))
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=cases,
            stateful_step_count=STEPS,
            database=None,
            derandomize=cases < LONG,
            print_blob=True,
            report_multiple_bugs=False,
            phases=[Phase.generate] if look else [Phase.generate, Phase.shrink],
            suppress_health_check=list(HealthCheck),
        ),
    )


def test_rows_live_as_the_model_says(dsn: str) -> None:
    run(dsn, SHORT)


@pytest.mark.long
def test_many_rows_live_as_the_model_says(dsn: str) -> None:
    run(dsn, LONG)


# Negative control: what the statements do wrongly is found.


@pytest.mark.parametrize(
    ("wrong", "statement"),
    [
        ("a row vanishes", "delete from pgsched.tasks where attempts > 0"),
        ("an execution is written twice", "insert into pgsched.executions select * from pgsched.executions limit 1"),
        ("an attempt is not counted", "update pgsched.tasks set attempts = 0 where attempts > 0"),
    ],
)
def test_a_wrong_table_is_found(dsn: str, wrong: str, statement: str) -> None:
    def spoil(model: Model) -> None:
        model.db.execute(statement)  # type: ignore[call-overload]

    with pytest.raises(AssertionError):
        run(dsn, 20, look=spoil)
