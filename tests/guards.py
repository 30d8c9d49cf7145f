"""What the guards of the statements promise, as checks that pass with the guard and fail without it.

The integration tests run each on the statements as they are; the negative controls run the very same check on a copy
from which the guard was cut out, and expect it to fail.
"""

from __future__ import annotations

from contextlib import suppress

import psycopg

from pgsched.db import leases, outcomes
from pgsched.errors import DatabaseUnavailable
from pgsched.model import Outcome
from pgsched.worker.holds import Holds
from tests.engine import engine, expire_leases, history, rows
from tests.tables import database, insert_task, task_row


async def a_late_completion_changes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another writes ``completed``: the fence keeps it out and counts it."""
    await _a_late_finish_changes_nothing(dsn, "completed")


async def a_late_failure_changes_nothing(dsn: str) -> None:
    """A worker whose row was claimed by another writes a retry: the fence keeps it out and counts it."""
    await _a_late_finish_changes_nothing(dsn, "failed")


async def _a_late_finish_changes_nothing(dsn: str, status: str) -> None:
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as late, engine(dsn) as owner:
            await late.claim()
            expire_leases(db)
            (task,) = await owner.claim()
            before = task_row(db, task_id)
            hold = late.holds.get(task_id)
            assert hold is not None
            late.finisher.conclude(hold, Outcome(status, 0.0, 0.0))
            await late.finisher.tick()
            assert task_row(db, task_id) == before
            assert before["fencing_token"] == task.fencing_token
            assert late.tally.fenced == 1
            assert [row["status"] for row in history(db, task_id)] == ["lost"]


async def a_leased_row_is_not_claimed(dsn: str) -> None:
    """A row that a living worker holds is not given to another."""
    with database(dsn) as db:
        insert_task(db)
    async with engine(dsn) as first, engine(dsn) as second:
        assert len(await first.claim()) == 1
        assert await second.claim() == []


async def a_claim_does_not_wait_for_locked_rows(dsn: str) -> None:
    """A claim beside a transaction that holds a row takes the others at once."""
    impatient = psycopg.conninfo.make_conninfo(dsn, options="-c lock_timeout=300ms")
    with database(dsn) as db, database(dsn) as other:
        locked, free = insert_task(db), insert_task(db)
        with other.transaction():
            other.execute("select from pgsched.tasks where id = %s for update", (locked,))
            async with engine(impatient) as claimer:
                try:
                    claimed = [task.id for task in await claimer.claim()]
                except DatabaseUnavailable as error:
                    raise AssertionError(f"the claim waited: {error}") from error
        assert claimed == [free]


async def a_late_release_changes_nothing(dsn: str) -> None:
    """A worker that gives a row back after another claimed it takes nothing from that one."""
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as late, engine(dsn) as owner:
            tasks = await late.claim()
            expire_leases(db)
            await owner.claim()
            before = task_row(db, task_id)
            released = await leases.release(late.worker._upkeep, tasks)
            assert task_row(db, task_id) == before
            assert released == 0


async def a_late_heartbeat_renews_nothing(dsn: str) -> None:
    """A worker that comes back after its lease was taken learns that it lost it, and does not prolong the other's."""
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as late, engine(dsn) as owner:
            await late.claim()
            expire_leases(db)
            await owner.claim()
            before = task_row(db, task_id)
            age(late.holds)
            lost: list[int] = []
            late.worker.heart._on_lost = lambda holds: lost.extend(hold.task.id for hold in holds)
            late.worker.heart.tick()
            assert task_row(db, task_id) == before
            assert lost == [task_id]


async def a_known_key_is_refused(dsn: str) -> None:
    """Two plain inserts with one idempotency key make one row."""
    with database(dsn) as db:
        insert_task(db, idempotency_key="k")
        with suppress(psycopg.errors.UniqueViolation):
            insert_task(db, idempotency_key="k")
        assert rows(db, "select count(*) as n from pgsched.tasks") == [{"n": 1}]


async def progress_of_a_late_worker_is_not_shown(dsn: str) -> None:
    """A worker whose row was claimed by another shows no progress any more."""
    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(dsn) as late, engine(dsn) as owner:
            (task,) = await late.claim()
            expire_leases(db)
            await owner.claim()
            await outcomes.report(late.worker._upkeep, [outcomes.Progress(task.id, task.fencing_token, "0.5")], [], 0.0)
            assert task_row(db, task_id)["progress"] is None


def age(holds: Holds, seconds: float = 15.0) -> None:
    """Let every lease in hand look half spent, so that the next heartbeat renews it."""
    for hold in holds.snapshot():
        hold.leased_until -= seconds
