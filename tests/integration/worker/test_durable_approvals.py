"""Events that are sent at the very moment of the wait, before it and after it: all arrive, and none twice."""

from __future__ import annotations

import asyncio
import queue
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pytest

from pgsched import App, DurableContext
from tests.support.tables import database
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow

Connection = psycopg.Connection[dict[str, Any]]

APPROVALS = [300, pytest.param(5_000, marks=pytest.mark.long)]
SENDERS = 4
MOMENTS = ("before", "at the wait", "at the wait", "after")
SEND = (
    "select pgsched.emit(%s::bigint, 'approved', %s::jsonb, 'one')",
    "select pgsched.emit('approval ' || %s::text, 'approved', %s::jsonb, 'one')",
)
"""By the id of the task and by its key."""
LATEST_SECONDS = 0.05


class Senders:
    """Threads that each send an event as soon as they are asked, or after a moment."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self._asked: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._threads = [threading.Thread(target=self._run, args=[seed]) for seed in range(SENDERS)]
        self.errors: list[BaseException] = []

    def ask(self, number: int) -> None:
        """The run of this number is about to wait."""
        self._asked.put(number)

    def _run(self, seed: int) -> None:
        chance = random.Random(seed)
        try:
            with database(self._dsn) as db:
                while (number := self._asked.get()) is not None:
                    # From the same moment to behind the suspension.
                    latest = LATEST_SECONDS if MOMENTS[number % len(MOMENTS)] == "after" else 0.003
                    time.sleep(chance.choice((0.0, chance.uniform(0.0, latest))))
                    send(db, number, chance)
        except BaseException as error:
            self.errors.append(error)
            raise

    @contextmanager
    def sending(self) -> Iterator[None]:
        """Run them."""
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            for _ in self._threads:
                self._asked.put(None)
            for thread in self._threads:
                thread.join()


def send(db: Connection, number: int, chance: random.Random) -> None:
    """Send the approval of a run, now and then twice."""
    task = db.execute("select id from pgsched.tasks where idempotency_key = %s", [f"approval {number}"]).fetchone()
    assert task is not None
    names = (task["id"], number)
    with db.transaction():
        for _ in range(chance.choice((1, 1, 2))):
            way = chance.randrange(2)
            db.execute(SEND[way], (names[way], str(number)))


def make(db: Connection, numbers: range) -> None:
    """Make runs, some of them with their approval in the same transaction."""
    with db.transaction():
        db.execute(
            "insert into pgsched.tasks (task_type, payload, idempotency_key)"
            " select 'order', jsonb_build_object('number', n), 'approval ' || n"
            " from generate_series(%s::integer, %s::integer) n",
            [numbers.start, numbers.stop - 1],
        )
        for number in numbers:
            if MOMENTS[number % len(MOMENTS)] == "before":
                send(db, number, random.Random(number))


def completed(db: Connection) -> int:
    row = db.execute("select count(*) as n from pgsched.tasks where status = 'completed'").fetchone()
    assert row is not None
    return int(row["n"])


def approve(dsn: str, count: int, *, together: int, concurrency: int) -> Counter[int]:
    """Let so many runs wait, ``together`` at a time; returns how often the handler of each was called."""
    calls: Counter[int] = Counter()
    senders = Senders(dsn)
    app = App(dsn=dsn, capture_logs=None)

    @app.task("order", durable=True)
    async def order(number: int, ctx: DurableContext) -> Any:
        calls[number] += 1
        if calls[number] == 1 and MOMENTS[number % len(MOMENTS)] != "before":
            senders.ask(number)
        return await ctx.wait_for("approved")

    async def run() -> None:
        with database(dsn) as db, senders.sending():
            async with app.worker(concurrency=concurrency):
                for first in range(0, count, together):
                    last = min(first + together, count)
                    make(db, range(first, last))
                    await wait_until_async(lambda last=last: completed(db) >= last, message=f"{last} are completed")

    try:
        asyncio.run(run())
    finally:
        app.close()
    assert senders.errors == []
    return calls


def assert_each_arrived_once(dsn: str, count: int) -> None:
    with database(dsn) as db:
        wrong = db.execute(
            "select id, payload, result, attempts from pgsched.tasks"
            " where status <> 'completed' or result <> payload -> 'number' or attempts <> 1"
        ).fetchall()
        assert wrong == []
        events = db.execute(
            "select count(*) as sent, count(consumed_at) as consumed, count(distinct task_id) as tasks"
            " from pgsched.durable_events"
        ).fetchone()
        assert events == {"sent": count, "consumed": count, "tasks": count}
        steps = db.execute(
            "select count(*) as n from pgsched.durable_steps s join pgsched.durable_events e on e.id = s.event_id"
            " and e.task_id = s.task_id where s.status = 'completed' and s.result = e.payload"
        ).fetchone()
        assert steps == {"n": count}
        assert db.execute("select * from pgsched.durable_runs").fetchall() == []


@pytest.mark.parametrize("count", APPROVALS)
def test_approvals_at_the_moment_of_a_live_wait_all_arrive(dsn: str, count: int) -> None:
    calls = approve(dsn, count, together=25, concurrency=30)  # there are free slots, so a wait keeps its own
    assert_each_arrived_once(dsn, count)
    assert len(calls) == count
    assert calls.total() < 1.5 * count, "most waits were suspended: the test shows nothing"


@pytest.mark.parametrize("count", APPROVALS)
def test_approvals_at_the_moment_of_the_suspension_all_arrive(dsn: str, count: int) -> None:
    calls = approve(dsn, count, together=100, concurrency=1)  # no slot is free: a wait is suspended at once
    assert_each_arrived_once(dsn, count)
    assert len(calls) == count
    assert calls.total() > 1.5 * count, "most waits were live: the test shows nothing"
