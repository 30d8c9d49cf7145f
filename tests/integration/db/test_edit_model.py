"""Random lives of many schedules on a real server: ticks, runs, retries, lost workers, and edits at any moment.

What is held: no tick runs twice, each that ran was one of the schedule in force at its time, and each tick in force
before the booked one has run, was given up by its last attempt, or is noted as missed. The clock is the test's own;
transactions that edit have begun at some time before. What workers do is done by their statements and functions.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any, LiteralString, NamedTuple
from uuid import UUID

import psycopg
import pytest

from pgsched.db.session import Session
from pgsched.db.worker import claims, completions
from pgsched.db.worker.claims import Probe
from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import Claimed, Finish, Missed, Outcome
from pgsched.domain.interval import Interval
from pgsched.domain.lifecycle import Refused, conclude, judge
from pgsched.domain.scheduling.recurrence import Schedule, first_tick, next_after
from pgsched.testing import freeze
from tests.support.tables import database

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]

ROWS = 100
STEPS = 30
BEGIN = datetime(2030, 6, 1, 12, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND = timedelta(seconds=1)
IDENTITY = Identity(
    id=UUID(int=1),
    hostname="h",
    pid=1,
    queues=("default",),
    task_types=("mail",),
    declared_keys=(),
    concurrency=1,
    lease=1_000_000,
)
CRONS = ("*/15 * * * * *", "*/7 * * * * *", "3,20,41 * * * * *", "* * * * *", "*/2 * * * *")
INTERVALS = ("10 seconds", "45 seconds", "63 seconds")
BEGAN = """
    create or replace function pgsched_clock.now() returns timestamptz language sql stable as $$
      select coalesce(nullif(current_setting('pgsched_clock.began', true), '')::timestamptz, frozen)
      from pgsched_clock.setting
    $$
    """
"""A transaction's time is when it began, as the session says."""


class Segment(NamedTuple):
    """The schedule in force from some instant on."""

    since: datetime
    schedule: Schedule


@dataclass
class Row:
    """What the model knows of a schedule."""

    segments: list[Segment] = field(default_factory=list)

    def ticks(self, until: datetime | None) -> list[datetime]:
        """The ticks that were in force, before ``until``; of a schedule that is over, all."""
        found: list[datetime] = []
        nexts = [segment.since for segment in self.segments[1:]]
        for (since, schedule), following in zip(self.segments, [*nexts, until], strict=True):
            end = following if until is None or following is None else min(following, until)
            tick = first_tick(schedule, since)
            while tick is not None and (end is None or tick < end):
                found.append(tick)
                tick = next_after(schedule, tick, 0)
        return found


class Hand(NamedTuple):
    """A claim whose end is still to be written."""

    task: Claimed
    missed: tuple[Missed, ...]
    started: datetime
    finish: Finish | None
    """Nothing runs; this is written."""
    segments: int
    """Of the row, at the claim."""


class World:
    """Many schedules, one worker, and people who edit."""

    def __init__(self, db: Database, editor: Database, session: Session, random: Random) -> None:
        self.db, self.editor, self.session, self.random = db, editor, session, random
        self.now = BEGIN
        self.rows: dict[int, Row] = {}
        self.hands: list[Hand] = []
        self.locked: set[int] = set()
        """Rows that the transaction under way has edited."""

    def begin(self) -> None:
        self.db.execute("truncate pgsched.tasks, pgsched.executions, pgsched.missed_ticks")
        self.tell(BEGIN)
        for _ in range(ROWS):
            random, columns = self.random, self.shape()
            columns["on_missed"] = random.choice(["once", "skip", "all"])
            columns["catchup_window"] = random.choice([None, None, "30 seconds", "5 minutes"])
            columns["jitter"] = random.choice([None, None, "20 seconds"])
            columns["overlap"] = random.choice(["skip", "skip", "allow"])
            columns["max_attempts"] = random.choice([1, 2])
            self.edit(
                self.db,
                "insert into pgsched.tasks (task_type, backoff, backoff_delay, cron_expression, repeat_interval,"
                " end_date, on_missed, catchup_window, jitter, overlap, max_attempts)"
                " values ('mail', 'fixed', '8 seconds', %(cron_expression)s, %(repeat_interval)s, %(end_date)s,"
                " %(on_missed)s, %(catchup_window)s, %(jitter)s, %(overlap)s, %(max_attempts)s)",
                columns,
                inserted=True,
            )

    def shape(self) -> dict[str, Any]:
        """The columns of one schedule or another."""
        is_cron = self.random.random() < 0.6
        return {
            "cron_expression": self.random.choice(CRONS) if is_cron else None,
            "repeat_interval": None if is_cron else self.random.choice(INTERVALS),
            "end_date": self.end(),
        }

    def end(self) -> datetime | None:
        return self.now + self.random.uniform(0, 300) * SECOND if self.random.random() < 0.2 else None

    def edit(self, db: Database, statement: LiteralString, values: dict[str, Any], *, inserted: bool = False) -> None:
        """Insert or edit a row, and learn the schedule that is in force from now on."""
        found = db.execute(
            statement + " returning id, cron_expression, start_date, end_date, repeat_interval", values
        ).fetchone()
        assert found is not None
        step = None if found["repeat_interval"] is None else Interval.from_timedelta(found["repeat_interval"])
        columns = (found["start_date"], found["end_date"], step)
        schedule = Schedule(found["cron_expression"], "UTC", *columns, None, "once", None)
        since = self.now if inserted else self.now + MICROSECOND
        self.rows.setdefault(found["id"], Row()).segments.append(Segment(since, schedule))

    def tell(self, now: datetime) -> None:
        """Let the clock show a time."""
        self.now = now
        self.db.execute("update pgsched_clock.setting set frozen = %s", (now,))

    async def step(self) -> None:
        random = self.random
        self.tell(
            self.now + random.choice([random.random(), random.uniform(1, 40), 15, random.uniform(200, 500)]) * SECOND
        )
        for _ in range(random.choice([0, 2, 10])):
            self.edit_one()
        if random.random() < 0.7:
            await self.claim()
            if random.random() < 0.5:
                self.tell(self.now + random.uniform(0, 30) * SECOND)
            for _ in range(random.choice([0, 5])):
                self.edit_one()
        if random.random() < 0.2:
            self.lose_some()
        await self.finish(random.random())
        if self.locked and random.random() < 0.5:
            self.commit()

    def edit_one(self) -> None:
        random = self.random
        id = random.choice(list(self.rows))
        held = {hand.task.id for hand in self.hands}
        if id in self.locked:
            return
        db = self.db if id in held or random.random() < 0.5 else self.editor
        if db is self.editor:
            if not self.locked:
                self.editor.execute("begin")
            self.locked.add(id)
        began = self.now - random.uniform(0, 40) * SECOND
        db.execute("select set_config('pgsched_clock.began', %s, false)", (began.isoformat(),))
        columns = {**self.shape(), "id": id}
        kind = random.random()
        if kind < 0.4:
            self.edit(db, "update pgsched.tasks set end_date = %(end_date)s where id = %(id)s", columns)
        elif kind < 0.9:
            self.edit(
                db,
                "update pgsched.tasks set cron_expression = %(cron_expression)s, repeat_interval = %(repeat_interval)s,"
                " end_date = %(end_date)s, start_date = null where id = %(id)s",
                columns,
            )
        else:
            self.edit(db, "update pgsched.tasks set planned_from = now(), enabled = true where id = %(id)s", columns)
        db.execute("select set_config('pgsched_clock.began', '', false)")

    def commit(self) -> None:
        self.editor.execute("commit")
        self.locked.clear()

    async def claim(self) -> None:
        batch = await claims.claim(self.session, IDENTITY, [Probe("default", 5)], 1000)
        for task in batch.tasks:
            segments = len(self.rows[task.id].segments) if task.id in self.rows else 0
            verdict = judge(task, self.now)
            if isinstance(verdict, Refused):
                self.hands.append(Hand(task, (), self.now, verdict.finish, segments))
            else:
                self.hands.append(Hand(verdict.task, verdict.missed, self.now, None, segments))

    def lose_some(self) -> None:
        """Let the leases of some claims have run out: their outcomes never come.

        Not of what catches up while it is edited: the ticks that such a run stands for are known to its worker alone.
        """
        lost = [hand for hand in self.hands if self.random.random() < 0.2 and not self.is_edited(hand)]
        self.db.execute(
            "update pgsched.tasks set locked_until = now() - interval '1 second' where id = any(%s)",
            ([hand.task.id for hand in lost],),
        )
        self.hands = [hand for hand in self.hands if hand not in lost]

    def is_edited(self, hand: Hand) -> bool:
        return hand.task.id in self.rows and hand.segments < len(self.rows[hand.task.id].segments)

    async def finish(self, share: float) -> None:
        ended = [hand for hand in self.hands if self.random.random() < share]
        self.hands = [hand for hand in self.hands if hand not in ended]
        finishes = [hand.finish or self._conclude(hand) for hand in ended]
        written = await completions.write(self.session, IDENTITY.id, finishes, [], [], self._seconds(self.now))
        assert written == len(finishes)
        # What came during a run that must not overlap itself does not run after it.
        began = {hand.task.id: hand.started for hand in ended if hand.finish is None}
        for row in self.db.execute(
            "select id, next_run_at from pgsched.tasks where id = any(%s) and next_run_at <= %s and attempts = 0"
            " and overlap = 'skip' and schedule_type <> 'one_time' and status = 'pending'",
            (list(began), self.now),
        ):
            assert row["next_run_at"] <= began[row["id"]], row

    def _conclude(self, hand: Hand) -> Finish:
        status = self.random.choice(["completed", "completed", "failed", "discarded"])
        outcome = Outcome(status, self._seconds(hand.started), self._seconds(self.now), error="no luck")
        return conclude(hand.task, outcome, at=lambda at: BEGIN + at * SECOND, random=lambda: 0.5, missed=hand.missed)

    def _seconds(self, at: datetime) -> float:
        return (at - BEGIN).total_seconds()

    def check(self) -> None:
        twice = self.db.execute(
            "select task_id, scheduled_for from pgsched.executions where status = 'completed' group by 1, 2"
            " having count(*) > 1"
        ).fetchall()
        assert not twice
        ran: dict[int, set[datetime]] = {}
        for one in self.db.execute(
            "select coalesce(t.parent_id, t.id) as id, e.scheduled_for from pgsched.executions e"
            " join pgsched.tasks t on t.id = e.task_id where e.status <> 'lost'"
        ):
            ran.setdefault(one["id"], set()).add(one["scheduled_for"])
        for row in self.db.execute(
            "select t.id, t.status, t.scheduled_for, t.planned_from, t.execution_count::int as ended,"
            " coalesce((select sum(m.ticks) from pgsched.missed_ticks m where m.task_id = t.id), 0)::int as missed"
            " from pgsched.tasks t where t.schedule_type <> 'one_time' and t.status in ('pending', 'completed')"
        ).fetchall():
            if row["id"] in self.locked:
                continue
            # A tick that is to be retried may be older than an edit: what came between is over.
            segments = self.rows[row["id"]].segments
            until = max(row["scheduled_for"], row["planned_from"]) if row["status"] == "pending" else None
            ticks = {*self.rows[row["id"]].ticks(until)}
            over = ticks - {row["scheduled_for"]} if row["status"] == "pending" else ticks
            said = (row, segments)
            assert ran.get(row["id"], set()) <= {*ticks, row["scheduled_for"]}, said
            assert row["ended"] + row["missed"] == len(over), said


async def live(dsn: str, histories: int, seed: int) -> None:
    session = Session(dsn=dsn, name="pgsched model")
    with database(dsn) as db, database(dsn) as editor:
        for number in range(-(-histories // ROWS)):
            world = World(db, editor, session, Random(seed + number))
            world.begin()
            for _ in range(STEPS):
                await world.step()
                world.check()
            if world.locked:
                world.commit()
            await world.finish(2)
            world.check()
    await session.close()


def run(dsn: str, histories: int, seed: int = 0) -> None:
    with freeze(dsn, BEGIN):
        with database(dsn) as db:
            db.execute(BEGAN)
        asyncio.run(live(dsn, histories, seed))


@pytest.mark.parametrize("seed", [0, 9_000])
def test_no_edit_lets_a_tick_run_twice_or_loses_one(dsn: str, seed: int) -> None:
    run(dsn, 100, seed)


@pytest.mark.long
@pytest.mark.parametrize("part", range(10))
def test_no_edit_of_20000_lives_lets_a_tick_run_twice_or_loses_one(dsn: str, part: int) -> None:
    run(dsn, 2_000, seed=1_000 * (part + 1))


@pytest.mark.parametrize(
    ("function", "right", "wrong"),
    [
        ("replan_task", "clock_timestamp()", "now()"),
        ("rebook", "<= moment", "<= began"),
        ("rebook", "greatest(tick + interval '1 microsecond', task.planned_from)", "greatest(tick, task.planned_from)"),
        ("note_rest", "perform pgsched.note_dropped(task, following, until, started);", ""),
        ("note_rest", "before.status = 'lost'", "false"),
    ],
)
def test_a_plan_that_is_wrong_is_found(dsn: str, function: str, right: str, wrong: str) -> None:
    with database(dsn) as db:
        found = db.execute("select pg_get_functiondef(('pgsched.' || %s)::regproc) as text", (function,)).fetchone()
        assert found is not None
        assert right in found["text"]
        db.execute(found["text"].replace(right, wrong))
    with pytest.raises(AssertionError):
        run(dsn, 300, seed=9_000)
