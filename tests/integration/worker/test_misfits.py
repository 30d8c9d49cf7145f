"""Payloads of the next version during a rolling deployment: they wait for a worker that has it, and not for ever."""

from __future__ import annotations

import signal
from contextlib import suppress
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from pgsched import App, Client
from pgsched.db.session import Session
from pgsched.errors import TransitionRefused
from pgsched.worker.registration import register as register_on
from pgsched.worker.registration import sync_handlers
from tests.support.engine import engine, history, make_due
from tests.support.processes import PgschedRunner
from tests.support.tables import insert_task, task_row
from tests.support.waiting import wait_until

Connection = psycopg.Connection[dict[str, Any]]

PROGRAM = """
from pgsched import App, Context

app = App(version={version!r})


@app.task("mail", transactional={transactional})
def mail({parameters}) -> str:
    return {version!r}
"""


def old(version: str | None = "1") -> App:
    app = App(version=version)

    @app.task("mail")
    def mail(to: str) -> str:
        return "old"

    return app


def new(version: str | None = "2") -> App:
    app = App(version=version)

    @app.task("mail")
    def mail(to: str, day: date | None = None) -> str:
        return "new"

    return app


async def sync(dsn: str, app: App) -> None:
    await sync_handlers(dsn=dsn, registry=app.registry, retire=False, waiting=False)


def later(db: Connection, **payload: str) -> int:
    return insert_task(db, "mail", payload=Jsonb({"to": "ann", **payload}), max_attempts=1)


async def attempt(dsn: str, app: App) -> None:
    async with engine(dsn, app.registry) as one:
        await one.claim()
        await one.run()


@pytest.mark.parametrize("transactional", ["False", "True"])
def test_the_next_version_s_payload_waits_while_an_old_worker_has_it(
    run_pgsched: PgschedRunner, dsn: str, db: Connection, client: Client, transactional: str
) -> None:
    folder = Path(run_pgsched.folder)
    programs = {"old_code": ("1", "ctx: Context, to: str"), "new_code": ("2", "ctx: Context, to: str, day: str = ''")}
    for name, (version, parameters) in programs.items():
        text = PROGRAM.format(version=version, parameters=parameters, transactional=transactional)
        Path(folder, f"{name}.py").write_text(text)
    first = run_pgsched("worker", "--app", "old_code:app")
    first.wait_for_output("worker_started")
    second = run_pgsched("worker", "--app", "new_code:app")
    second.wait_for_output("worker_started")
    client.pause_queue("default")
    second.signal(signal.SIGSTOP)
    client.resume_queue("default")
    task = later(db, day="2030-01-01")
    wait_until(lambda: history(db, task), message="the old worker has had it")
    waiting = client.get(task)
    assert waiting.attempts == 0
    assert waiting.last_error == (
        "payload does not fit handler 'mail', and waits for newer code (version '2'): unexpected argument 'day'"
    )
    first.wait_for_output("and waits for newer code.*task_snoozed")
    assert [one.check for one in client.doctor(["misfits"]).findings] == ["misfits"]
    second.signal(signal.SIGCONT)
    assert first.stop() == 0
    with suppress(TransitionRefused):  # it runs already
        client.run_now(task)  # on a slow machine the delays have grown to a minute by now
    assert client.wait(task, timeout=60) == "2"
    assert client.doctor(["misfits"]).findings == []
    assert {one.status for one in client.executions(task)} == {"snoozed", "completed"}
    assert second.stop() == 0


@pytest.mark.parametrize("versions", [("1", "2"), (None, None), ("1", None)])
async def test_order_is_that_of_first_registration_also_without_version(
    dsn: str, db: Connection, versions: tuple[str | None, str | None]
) -> None:
    before, after = old(versions[0]), new(versions[1])
    for app in (before, after, before):  # an old worker that starts once more is not newer for that
        await register(dsn, app)
    task = later(db, day="2030-01-01")
    await attempt(dsn, before)
    assert task_row(db, task)["status"] == "pending"
    make_due(db, task)
    await attempt(dsn, after)
    assert task_row(db, task)["result"] == "new"


async def register(dsn: str, app: App) -> None:
    session = Session(dsn=dsn, name="test")
    await register_on(session, app.registry)
    await session.close()


async def test_on_the_newest_version_and_without_register_it_is_dead_at_once(dsn: str, db: Connection) -> None:
    first = later(db, other="x")
    await attempt(dsn, new())
    for app in (old(), new()):
        await register(dsn, app)
    second = later(db, other="x")
    await attempt(dsn, new())
    for task in (first, second):
        row = task_row(db, task)
        assert (row["status"], row["last_error"]) == (
            "dead",
            "payload does not fit handler 'mail': unexpected argument 'other'",
        )


async def test_what_a_deployment_syncs_is_the_newest(dsn: str, db: Connection) -> None:
    for app in (old(), new()):
        await register(dsn, app)
    await sync(dsn, old())  # taken back
    task = later(db, day="2030-01-01")
    await attempt(dsn, old())
    assert task_row(db, task)["status"] == "dead"
    versions = db.execute("select versions from pgsched.handlers").fetchone()
    assert versions is not None
    assert [one["version"] for one in versions["versions"]] == ["2", "1"]


async def test_delays_grow_and_after_an_hour_it_is_dead(dsn: str, db: Connection) -> None:
    for app in (old(), new()):
        await register(dsn, app)
    task, delays = later(db, day="2030-01-01"), []
    async with engine(dsn, old().registry) as one:
        for _ in range(9):
            await one.claim()
            await one.run()
            left = db.execute("select extract(epoch from next_run_at - now()) as s from pgsched.tasks").fetchone()
            assert left is not None
            delays.append(round(float(left["s"])))
            make_due(db, task)
        assert delays == [1, 2, 4, 8, 16, 32, 60, 60, 60]
        db.execute("update pgsched.executions set started_at = started_at - interval '3601 seconds'")
        await one.claim()
        await one.run()
    row = task_row(db, task)
    assert (row["status"], row["last_error"]) == (
        "dead",
        "payload does not fit handler 'mail', and waited 60 minutes for newer code (version '2'): "
        "unexpected argument 'day'",
    )


async def test_a_tick_of_a_schedule_waits_and_is_not_counted(dsn: str, db: Connection) -> None:
    for app in (old(), new()):
        await register(dsn, app)
    payload = Jsonb({"to": "ann", "day": "2030-01-01"})
    task = insert_task(db, "mail", payload=payload, repeat_interval="1 day", start_date="2030-01-01")
    db.execute("update pgsched.tasks set start_date = now() - interval '1 second'")
    before = task_row(db, task)
    make_due(db, task)
    await attempt(dsn, old())
    after = task_row(db, task)
    assert (after["scheduled_for"], after["attempts"], after["execution_count"]) == (before["scheduled_for"], 0, 0)
    assert after["last_error"].startswith("payload does not fit handler 'mail', and waits for newer code")


async def test_only_twenty_versions_are_kept(dsn: str, db: Connection) -> None:
    for number in range(25):
        await register(dsn, old(str(number)))
    row = db.execute("select versions from pgsched.handlers").fetchone()
    assert row is not None
    assert [one["version"] for one in row["versions"]] == [str(number) for number in range(5, 25)]
