"""``@app.task(cron=…)``: the row follows the code, whoever starts first."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

from pgsched.app.app import App
from pgsched.db.session import Session
from pgsched.execution.registry import Registry
from pgsched.worker.declared_schedules import declare_schedules, sync_schedules
from tests.support.engine import engine, rows, running_worker
from tests.support.tables import database, task_row
from tests.support.waiting import wait_until_async


def declaring(**options: Any) -> Registry:
    """The registry of an app that declares ``digest`` with these options."""
    app = App()
    decorate: Callable[[Callable[[], None]], object] = app.task("digest", **options)
    decorate(lambda: None)
    return app.registry


async def declare(dsn: str, registry: Registry) -> int:
    """Declare the registry's schedules; returns how many rows were written."""
    return sum(outcome in ("added", "changed", "overwritten") for outcome in await outcomes(dsn, registry))


async def outcomes(dsn: str, registry: Registry) -> list[str]:
    session = Session(dsn=dsn, name="pgsched test")
    try:
        return [synced.outcome for synced in await declare_schedules(session, registry)]
    finally:
        await session.close()


async def sync(dsn: str, registry: Registry, *, prune: bool = False) -> list[tuple[str, str]]:
    return [one[:2] for one in await sync_schedules(dsn=dsn, registry=registry, prune=prune)]


async def test_a_declared_schedule_becomes_a_row(dsn: str) -> None:
    registry = declaring(cron="0 8 * * 1", timezone="Europe/Berlin", queue="mail", priority=7, max_attempts=5)
    assert await declare(dsn, registry) == 1
    with database(dsn) as db:
        (row,) = rows(db, "select * from pgsched.tasks")
    assert (row["task_type"], row["schedule_type"], row["cron_expression"]) == ("digest", "recurring", "0 8 * * 1")
    assert (row["timezone"], row["queue"], row["priority"], row["max_attempts"]) == ("Europe/Berlin", "mail", 7, 5)
    assert (row["idempotency_key"], row["created_by"]) == ("declared:digest", "code")


async def test_a_handler_without_a_schedule_gets_no_row(dsn: str) -> None:
    assert await declare(dsn, declaring(queue="mail")) == 0


async def test_an_interval_can_be_declared(dsn: str) -> None:
    await declare(dsn, declaring(every="15m", times=3))
    with database(dsn) as db:
        (row,) = rows(db, "select * from pgsched.tasks")
    assert (row["repeat_interval"], row["repeat_count"]) == (timedelta(minutes=15), 3)


async def test_declaring_it_again_writes_nothing(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    with database(dsn) as db:
        before = rows(db, "select *, xmin from pgsched.tasks")
        assert await declare(dsn, declaring(cron="0 8 * * 1")) == 0
        assert rows(db, "select *, xmin from pgsched.tasks") == before


async def test_a_fleet_that_starts_at_once_makes_one_row(dsn: str) -> None:
    written = await asyncio.gather(*(declare(dsn, declaring(cron="0 8 * * 1")) for _ in range(6)))
    assert sum(written) == 1
    with database(dsn) as db:
        assert rows(db, "select count(*) as n from pgsched.tasks") == [{"n": 1}]


async def test_a_changed_declaration_is_planned_again(dsn: str) -> None:
    with database(dsn) as db:
        for cron, month in (("0 8 1 1 *", 1), ("0 8 1 2 *", 2)):
            registry = declaring(cron=cron)
            await declare(dsn, registry)
            async with engine(dsn, registry) as one:
                await one.work()
            (row,) = rows(db, "select * from pgsched.tasks")
            assert row["scheduled_for"].month == month


async def test_a_concurrency_key_is_declared_and_taken_back(dsn: str) -> None:
    with database(dsn) as db:
        for options, key, outcome in (
            ({"concurrency_key": "a"}, "a", "added"),
            ({"concurrency_key": "a"}, "a", "unchanged"),
            ({"concurrency_key": "b"}, "b", "changed"),
            ({}, None, "changed"),
        ):
            assert await outcomes(dsn, declaring(cron="0 8 * * 1", **options)) == [outcome]
            (row,) = rows(db, "select * from pgsched.tasks")
            assert row["concurrency_key"] == key
        db.execute("update pgsched.tasks set concurrency_key = 'c'")
        assert await outcomes(dsn, declaring(cron="0 9 * * 1")) == ["overwritten"]


async def test_when_silence_is_told_of_is_declared_and_taken_back(dsn: str) -> None:
    with database(dsn) as db:
        for options, hours, outcome in (
            ({"alert_if_no_success_for": "25h"}, 25, "added"),
            ({"alert_if_no_success_for": "25h"}, 25, "unchanged"),
            ({"alert_if_no_success_for": "30h", "alert_if_running_for": "2h"}, 30, "changed"),
            ({}, None, "changed"),
        ):
            assert await outcomes(dsn, declaring(cron="0 3 * * *", **options)) == [outcome]
            (row,) = rows(db, "select * from pgsched.tasks")
            assert row["alert_if_no_success_for"] == (hours and timedelta(hours=hours))
            assert row["alert_if_running_for"] == (timedelta(hours=2) if hours == 30 else None)
        db.execute("update pgsched.tasks set alert_if_running_for = '1 hour'")
        assert await outcomes(dsn, declaring(cron="0 4 * * *")) == ["overwritten"]


async def test_a_row_that_somebody_paused_stays_paused(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    with database(dsn) as db:
        db.execute("update pgsched.tasks set enabled = false")
        await declare(dsn, declaring(cron="0 9 * * 1"))
        (row,) = rows(db, "select * from pgsched.tasks")
    assert (row["enabled"], row["cron_expression"]) == (False, "0 9 * * 1")


async def test_a_worker_declares_when_it_starts(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, declaring(cron="0 0 1 1 *")):
            await wait_until_async(
                lambda: rows(db, "select id from pgsched.tasks where scheduled_for is not null"),
                message="the row is there and planned",
            )
        (row,) = rows(db, "select id from pgsched.tasks")
        assert task_row(db, row["id"])["status"] == "pending"


async def test_a_declared_interval_is_not_written_again_at_the_next_start(dsn: str) -> None:
    await declare(dsn, declaring(every="15m"))
    with database(dsn) as db:
        before = rows(db, "select *, xmin from pgsched.tasks")
        assert await outcomes(dsn, declaring(every="15m")) == ["unchanged"]
        assert rows(db, "select *, xmin from pgsched.tasks") == before


async def test_every_option_follows_the_code(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    changed = declaring(cron="0 8 * * 1", timeout=30, on_missed="skip", jitter=5, tags=["a"], name="n", backoff="fixed")
    assert await outcomes(dsn, changed) == ["changed"]
    with database(dsn) as db:
        (row,) = rows(db, "select * from pgsched.tasks")
    assert (row["timeout"], row["jitter"]) == (timedelta(seconds=30), timedelta(seconds=5))
    assert (row["on_missed"], row["tags"], row["task_name"], row["backoff"]) == ("skip", ["a"], "n", "fixed")


async def test_what_an_operator_edited_stays_while_the_code_is_the_same(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    with database(dsn) as db:
        db.execute("update pgsched.tasks set cron_expression = '0 9 * * 1'")
        assert await outcomes(dsn, declaring(cron="0 8 * * 1")) == ["edited"]
        assert rows(db, "select cron_expression as c from pgsched.tasks") == [{"c": "0 9 * * 1"}]


async def test_a_new_declaration_is_written_over_an_edit_and_says_so(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    with database(dsn) as db:
        db.execute("update pgsched.tasks set cron_expression = '0 9 * * 1'")
        assert await outcomes(dsn, declaring(cron="0 7 * * 1")) == ["overwritten"]
        assert rows(db, "select cron_expression as c from pgsched.tasks") == [{"c": "0 7 * * 1"}]


async def test_a_schedule_gone_from_the_code_is_only_reported(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    assert await sync(dsn, declaring(queue="mail")) == [("digest", "orphaned")]
    with database(dsn) as db:
        assert rows(db, "select enabled from pgsched.tasks") == [{"enabled": True}]


async def test_prune_disables_and_does_not_delete(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    assert await sync(dsn, declaring(queue="mail"), prune=True) == [("digest", "disabled")]
    with database(dsn) as db:
        assert rows(db, "select enabled from pgsched.tasks") == [{"enabled": False}]


async def test_a_pruned_schedule_that_comes_back_runs_again(dsn: str) -> None:
    await declare(dsn, declaring(cron="0 8 * * 1"))
    await sync(dsn, declaring(queue="mail"), prune=True)
    await declare(dsn, declaring(cron="0 8 * * 1"))
    with database(dsn) as db:
        assert rows(db, "select enabled from pgsched.tasks") == [{"enabled": True}]


async def test_prune_leaves_what_a_living_worker_declares(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, declaring(cron="0 0 1 1 *")):
            await wait_until_async(lambda: rows(db, "select from pgsched.tasks"), message="the row is there")
            assert await sync(dsn, declaring(queue="mail"), prune=True) == [("digest", "in use")]
        assert rows(db, "select enabled from pgsched.tasks") == [{"enabled": True}]


async def test_a_declaration_that_the_database_refuses_costs_no_other_its_row(dsn: str) -> None:
    app = App()
    for name in ("a", "b", "c"):
        app.task(name, cron="0 8 * * *")(lambda: None)
    with database(dsn) as db:
        db.execute("alter table pgsched.tasks add constraint not_b check (task_type <> 'b')")
        assert await outcomes(dsn, app.registry) == ["added", "refused", "added"]
        async with running_worker(dsn, app.registry) as worker:
            await wait_until_async(lambda: worker.health.unready() is None, message="the worker works all the same")


# Several schedules of one handler.


def reporting(*regions: str) -> Registry:
    app = App()

    @app.task("report", queue="reports")
    def report(region: str) -> None: ...

    for region in regions:
        report.declare({"region": region}, name=region, cron="0 8 * * *")
    return app.registry


async def test_one_handler_declares_several_schedules_each_with_its_payload(dsn: str) -> None:
    with database(dsn) as db:
        async with running_worker(dsn, reporting("eu", "us"), queues=("reports",)):
            await wait_until_async(lambda: len(rows(db, "select from pgsched.tasks")) == 2, message="both rows")
        found = rows(db, "select task_name, queue, payload, idempotency_key as key from pgsched.tasks order by id")
    assert found == [
        {"task_name": "eu", "queue": "reports", "payload": {"region": "eu"}, "key": "declared:report:eu"},
        {"task_name": "us", "queue": "reports", "payload": {"region": "us"}, "key": "declared:report:us"},
    ]


async def test_each_declared_schedule_of_a_handler_is_kept_in_step_by_itself(dsn: str) -> None:
    assert await outcomes(dsn, reporting("eu", "us")) == ["added", "added"]
    with database(dsn) as db:
        db.execute("update pgsched.tasks set cron_expression = '0 9 * * *' where task_name = 'us'")
        assert await outcomes(dsn, reporting("eu", "us", "asia")) == ["unchanged", "edited", "added"]
        synced = await sync_schedules(dsn=dsn, registry=reporting("eu", "asia"), prune=True)
        assert [(str(one), one.outcome) for one in synced] == [
            ("report (eu)", "unchanged"),
            ("report (asia)", "unchanged"),
            ("report (us)", "disabled"),
        ]
        (paused,) = rows(db, "select task_name from pgsched.tasks where not enabled")
    assert paused == {"task_name": "us"}
