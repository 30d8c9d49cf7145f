"""A task that has not started by its ``expires_at`` is cancelled: by the worker that claims it, or by upkeep."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched import App, Client, InvalidTask, Retry, TaskSpec
from pgsched.testing import run_due
from pgsched.worker.housekeeping import Expiry
from pgsched.worker.leased_tasks import LeasedTask
from pgsched.worker.locked_batch import LockedBatch
from tests.support.commands import pgsched
from tests.support.engine import engine, expire_leases, handlers, history, rows, running_worker
from tests.support.tables import insert_task, restoring, set_backing_off, set_running, task_row
from tests.support.waiting import wait_until_async
from tests.support.web_face import web

Database = psycopg.Connection[dict[str, Any]]
PAST = datetime(2020, 1, 1, tzinfo=UTC)
LATER = datetime(2040, 1, 1, tzinfo=UTC)
REASON = "expired: it had not started by 2020-01-01 00:00:00 UTC"


def expire(db: Database, most: int = 1000) -> int:
    (row,) = rows(db, "select pgsched.expire_tasks(%s) as number", most)
    return int(row["number"])


def assert_expired(db: Database, id: int) -> None:
    row = task_row(db, id)
    assert (row["status"], row["last_error"], row["next_run_at"]) == ("cancelled", REASON, None)
    assert row["completed_at"] is not None
    (run,) = history(db, id)
    assert (run["status"], run["attempt"], run["error"]) == ("cancelled", 1, REASON)
    assert 0 <= run["duration_ms"] < 1000


class Ran:
    def __init__(self) -> None:
        self.shops: list[int] = []

    async def mail(self, shop: int = 0) -> None:
        self.shops.append(shop)


@pytest.fixture
def ran() -> Ran:
    return Ran()


# Claimed.


@pytest.mark.parametrize("limited", [False, True])
async def test_a_worker_cancels_what_it_claims_too_late(dsn: str, db: Database, ran: Ran, limited: bool) -> None:
    if limited:
        db.execute("select pgsched.limit_queue('default', concurrency => 5)")
    late = insert_task(db, expires_at=PAST)
    in_time = insert_task(db, expires_at=LATER, payload=json.dumps({"shop": 1}))
    for_ever = insert_task(db, payload=json.dumps({"shop": 2}))
    async with engine(dsn, handlers(mail=ran.mail)) as one:
        await one.work()
    assert sorted(ran.shops) == [1, 2]
    assert_expired(db, late)
    assert {task_row(db, id)["status"] for id in (in_time, for_ever)} == {"completed"}


async def test_a_worker_that_locks_rows_cancels_it_too(
    dsn: str, db: Database, ran: Ran, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked: list[int] = []
    hold = LockedBatch.hold

    def note(batch: LockedBatch, held: list[LeasedTask]) -> None:
        locked.extend(leased.task.id for leased in held)
        hold(batch, held)

    async def later(_expiry: Expiry) -> None: ...

    monkeypatch.setattr(LockedBatch, "hold", note)
    monkeypatch.setattr(Expiry, "run_once", later)  # so that they are claimed
    ids = [insert_task(db, expires_at=PAST if n % 2 else LATER) for n in range(300)]
    async with running_worker(dsn, handlers(mail=ran.mail), concurrency=10, max_batch=10):
        over = "select from pgsched.tasks where next_run_at is not null"
        await wait_until_async(lambda: not rows(db, over), message="all are over")
    assert set(ids[1::2]) & set(locked)
    assert len(ran.shops) == 150
    for id in ids[1::2]:
        assert_expired(db, id)


async def test_it_expires_while_it_waits_for_a_slot(dsn: str, db: Database, ran: Ran) -> None:
    """What counts is when it starts, not when it was claimed."""
    id = insert_task(db, expires_at=datetime.now(UTC) + timedelta(hours=1))
    async with engine(dsn, handlers(mail=ran.mail)) as one:
        await one.claim()
        (leased,) = one.leased_tasks.snapshot()
        leased.task = leased.task._replace(expires_at=PAST)
        await one.run()
    assert ran.shops == []
    assert_expired(db, id)


async def test_one_that_has_started_does_not_expire(dsn: str, db: Database) -> None:
    async def fails() -> None:
        raise Retry(0)

    id = insert_task(db, expires_at=LATER)
    async with engine(dsn, handlers(mail=fails)) as one:
        await one.work()
        db.execute("update pgsched.tasks set expires_at = %s, scheduled_for = '2019-01-01' where id = %s", (PAST, id))
        db.execute("update pgsched.tasks set next_run_at = now() where id = %s", (id,))
        assert expire(db) == 0
        await one.work()
    assert [run["status"] for run in history(db, id)] == ["failed", "failed"]


async def test_one_whose_worker_was_lost_while_it_ran_does_not_expire(dsn: str, db: Database, ran: Ran) -> None:
    id = insert_task(db, expires_at=PAST)
    set_running(db, id)
    expire_leases(db)
    assert expire(db) == 0
    async with engine(dsn, handlers(mail=ran.mail)) as one:
        await one.work()
    assert [run["status"] for run in history(db, id)] == ["lost", "completed"]


@pytest.mark.parametrize("by_upkeep", [False, True])
async def test_a_retry_by_hand_runs_it(dsn: str, db: Database, client: Client, ran: Ran, by_upkeep: bool) -> None:
    id = insert_task(db, expires_at=PAST)
    async with engine(dsn, handlers(mail=ran.mail)) as one:
        await (one.work() if not by_upkeep else _upkeep(db))
        assert_expired(db, id)
        client.retry(id)
        assert expire(db) == 0
        await one.work()
    assert task_row(db, id)["status"] == "completed"
    assert ran.shops == [0]


async def _upkeep(db: Database) -> None:
    assert expire(db) == 1


# Not claimed.


async def test_upkeep_cancels_what_no_worker_claims(dsn: str, db: Database, ran: Ran) -> None:
    db.execute("select pgsched.pause_queue('paused')")
    late = [
        insert_task(db, expires_at=PAST, queue="nobody"),
        insert_task(db, "unknown", expires_at=PAST),
        insert_task(db, expires_at=PAST, queue="paused"),
        insert_task(db, expires_at=PAST, enabled=False),
        insert_task(db, expires_at=PAST, depends_on=[insert_task(db, queue="nobody")]),
    ]
    stays = insert_task(db, expires_at=LATER, enabled=False)
    async with running_worker(dsn, handlers(mail=ran.mail)):
        waiting = "select from pgsched.tasks where expires_at < now() and completed_at is null"
        await wait_until_async(lambda: not rows(db, waiting), message="all have expired")
    for id in late:
        assert_expired(db, id)
    assert rows(db, "select from pgsched.dependencies") == []
    assert task_row(db, stays)["status"] == "pending"
    assert ran.shops == []


async def test_upkeep_comes_when_one_expires(dsn: str, db: Database) -> None:
    id = insert_task(db, expires_at=datetime.now(UTC) + timedelta(seconds=1), enabled=False)
    async with running_worker(dsn):
        await wait_until_async(lambda: task_row(db, id)["status"] == "cancelled", message="it has expired")


def test_it_goes_in_steps_and_leaves_what_is_locked(dsn: str, db: Database) -> None:
    ids = [insert_task(db, expires_at=PAST + timedelta(days=n)) for n in range(4)]
    with psycopg.connect(dsn) as other:
        other.execute("select from pgsched.tasks where id = %s for update", (ids[0],))
        assert expire(db, 2) == 2
    assert [task_row(db, id)["status"] for id in ids] == ["pending", "cancelled", "cancelled", "pending"]
    assert (expire(db), expire(db)) == (2, 0)


def test_what_has_run_is_left_alone(db: Database) -> None:
    ids = [insert_task(db, expires_at=PAST) for _ in range(2)]
    set_running(db, ids[0])
    set_backing_off(db, ids[1])
    assert expire(db) == 0


def test_it_reads_an_index_and_no_table(db: Database) -> None:
    with restoring(db):
        db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 20000)")
    insert_task(db, expires_at=PAST)
    db.execute("vacuum analyze pgsched.tasks")
    plan = db.execute(
        "explain select from pgsched.tasks t where t.expires_at <= now() and t.completed_at is null"
        " and t.died_at is null and t.status in ('pending', 'blocked')"
        " order by t.expires_at limit 1000 for no key update skip locked"
    ).fetchall()
    assert any("tasks_expiring" in row["QUERY PLAN"] for row in plan)


@pytest.mark.parametrize("by_upkeep", [False, True])
async def test_who_waits_for_it_is_told_as_of_a_cancelled_one(dsn: str, db: Database, by_upkeep: bool) -> None:
    late = insert_task(db, expires_at=PAST)
    cancelled = insert_task(db, depends_on=[late])
    runs = insert_task(db, depends_on=[late], on_dependency_dead="run")
    async with engine(dsn) as one:
        await (one.work() if not by_upkeep else _upkeep(db))
    assert task_row(db, cancelled)["status"] == "cancelled"
    assert task_row(db, cancelled)["last_error"] == f"task {late}, which it depends on, is cancelled"
    assert task_row(db, runs)["status"] == "pending"


@pytest.mark.parametrize("by_upkeep", [False, True])
async def test_other_programs_are_told(dsn: str, db: Database, by_upkeep: bool) -> None:
    db.execute("select pgsched.set_queue_events('default', true)")
    id = insert_task(db, expires_at=PAST)
    with psycopg.connect(dsn, autocommit=True) as listening:
        listening.execute("listen pgsched_events")
        async with engine(dsn) as one:
            await one.worker.broadcaster.run_once()
            await (one.work() if not by_upkeep else _upkeep(db))
        (told,) = (json.loads(notice.payload) for notice in listening.notifies(timeout=5, stop_after=1))
    assert (told["event"], told["id"]) == ("cancelled", id)


# Said and refused.


def test_it_is_refused_for_schedules_and_before_the_task_is_due(db: Database, client: Client) -> None:
    with pytest.raises(InvalidTask, match=r"^expires_at is for one-time tasks; a schedule ends with end"):
        client.schedule("mail", cron="0 8 * * *", expires_at=LATER)
    with pytest.raises(InvalidTask, match=r"^expires_at must be after at, got"):
        client.schedule("mail", at=LATER, expires_at=LATER)
    with pytest.raises(InvalidTask, match=r"^expires_at must have a time zone"):
        client.schedule("mail", expires_at=datetime(2040, 1, 1))
    with pytest.raises(InvalidTask, match=r"^expires_at must be after scheduled_for, got"):
        client.schedule("mail", delay="1d", expires_at=datetime.now(UTC) + timedelta(hours=1))
    for columns in ({"cron_expression": "0 8 * * *"}, {"repeat_interval": "1h"}):
        with pytest.raises(psycopg.errors.InvalidParameterValue, match="expires_at is for one-time tasks"):
            insert_task(db, expires_at=LATER, **columns)
    for never in ("infinity", "-infinity"):
        with pytest.raises(
            psycopg.errors.InvalidParameterValue, match="expires_at must be between the years 1 and 9999"
        ):
            insert_task(db, expires_at=never)
    id = client.schedule("mail", delay="1d")
    with pytest.raises(InvalidTask, match="expires_at must be after scheduled_for, got"):
        client.update(id, expires_at=datetime.now(UTC) + timedelta(hours=1))
    schedule = client.schedule("mail", every="1h")
    with pytest.raises(InvalidTask, match="expires_at is for one-time tasks"):
        client.update(schedule, expires_at=LATER)


async def test_every_face_has_it(dsn: str, db: Database, client: Client) -> None:
    app = App(dsn=dsn)

    @app.task("mail")
    def mail() -> None: ...

    text = "2040-01-01T00:00:00Z"
    ids = [
        client.schedule("mail", expires_at=LATER),
        client.schedule("mail", expires_at=LATER, idempotency_key="k"),
        *client.schedule_many([TaskSpec(task_type="mail", expires_at=LATER)]),
        mail.schedule(expires_at=LATER),
        mail.with_options(expires_at=LATER).schedule(),
        *(one["id"] for one in rows(db, "select pgsched.schedule('mail', expires_at => '2040-01-01 00:00+00') as id")),
        int(pgsched("task", "add", "mail", "--expires-at", text, dsn=dsn).stdout),
    ]
    async with web(dsn) as http:
        answer = await http.post("/api/v1/tasks", json={"task_type": "mail", "expires_at": text})
        ids.append(answer.json()["id"])
        assert answer.json()["expires_at"] == text
        form = {"task_type": "mail", "payload": "{}", "expires_at": "2040-01-01T00:00"}
        assert (await http.post("/schedules/new", data=form)).status_code == 303
        ids.append(max(one["id"] for one in rows(db, "select id from pgsched.tasks")))
        page = (await http.get(f"/tasks/{ids[0]}")).text
        assert "Expires" in page
        assert "2040-01-01 00:00:00 UTC" in page
    assert len(set(ids)) == 9
    assert {client.get(id).expires_at for id in ids} == {LATER}
    assert {one.expires_at for one in client.list_tasks()} == {LATER}
    client.update(ids[0], expires_at=None)
    assert pgsched("task", "edit", str(ids[1]), "--clear", "expires-at", dsn=dsn).code == 0
    assert [client.get(id).expires_at for id in ids[:2]] == [None, None]
    app.close()


def test_tests_see_it_too(dsn: str, db: Database, ran: Ran) -> None:
    app = App(dsn=dsn)
    app.task("mail")(ran.mail)
    id = insert_task(db, expires_at=PAST)
    assert run_due(app) == []
    assert_expired(db, id)
    app.close()


async def test_one_that_leaves_keeps_it(dsn: str, db: Database, client: Client, ran: Ran) -> None:
    client.set_queue("default", retention="0")
    id = client.schedule("mail", expires_at=LATER)
    async with engine(dsn, handlers(mail=ran.mail)) as one:
        await one.work()
    assert rows(db, "select from pgsched.tasks") == []
    assert client.get(id).expires_at == LATER
