"""Behind PgBouncer in transaction mode: each transaction may be in another session."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.faults.pgbouncer import PgBouncer, missing_pgbouncer
from chaos.proxy import Proxy
from pgsched.app.app import App
from pgsched.client.client import Client
from pgsched.db.connection import connect, connect_async
from pgsched.db.notifications import BehindPooler, follow, listen
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.workflow import group, parallel, step
from pgsched.execution.context import Context
from pgsched.execution.durable_context import DurableContext
from pgsched.ops.activity import read_activity
from pgsched.worker import kept_transactions, sleep
from tests.support.engine import rows, running_worker
from tests.support.retained import finished, left
from tests.support.tables import database
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow

if (cause := missing_pgbouncer()) is not None:
    pytest.skip(cause, allow_module_level=True)


@pytest.fixture
def pooler(dsn: str) -> Iterator[PgBouncer]:
    if not str(conninfo_to_dict(dsn).get("host")).startswith("/"):
        pytest.skip("PgBouncer of the tests needs a server on a unix socket")
    with PgBouncer(dsn, size=4) as pooler:
        yield pooler


async def test_a_pooler_is_noticed_and_what_only_passes_bytes_on_is_none(dsn: str, pooler: PgBouncer) -> None:
    with Proxy(dsn) as proxy:
        for address, pooled in ((dsn, False), (proxy.dsn, False), (pooler.dsn, True)):
            with connect(address) as link:
                assert (link.pooled, link.prepare_threshold is None) == (pooled, pooled)
            async_link = await connect_async(address)
            assert (async_link.pooled, async_link.prepare_threshold is None) == (pooled, pooled)
            await async_link.close()


def test_deleting_works_behind_a_pooler(dsn: str, pooler: PgBouncer, tmp_path: Path) -> None:
    with database(dsn) as db, Client(pooler.dsn) as client:
        for folder in (None, tmp_path):
            finished(db)
            done = client.prune(completed_older_than="0s", allow_short=True, archive_dir=folder)
            assert (left(db), len(done.files), done.complete) == ([], folder is not None, True)


def test_the_doctor_and_top_work_behind_a_pooler_and_the_doctor_says_that_there_is_one(
    dsn: str, pooler: PgBouncer
) -> None:
    """The tests' own server is not careful, and a test's DSN leads to the server itself."""
    for address, found in ((dsn, {"durability"}), (pooler.dsn, {"durability", "pooler"})):
        with Client(address) as client:
            assert {one.check for one in client.doctor().findings} == found
            assert read_activity(client.database).server.startswith("PostgreSQL")


async def test_everything_that_a_worker_does_works_behind_a_pooler(dsn: str, pooler: PgBouncer) -> None:
    app = App()

    @app.task("mail")
    async def mail(number: int, ctx: Context) -> int:
        ctx.log("sent", number=number)
        ctx.progress(number)
        return number + sum(ctx.dependencies.values())

    @app.task("entry", transactional=True)
    async def entry(ctx: Context) -> None:
        for number in range(10):  # as often as psycopg would prepare it
            await ctx.connection.execute("insert into entries values (%s, %s)", (ctx.id, number))

    @app.task("entry_plain", transactional=True)
    def entry_plain(ctx: Context) -> None:
        for number in range(10):
            ctx.connection.execute("insert into entries values (%s, %s)", (ctx.id, number))

    with database(dsn) as db:
        db.execute("create table entries (task_id bigint, number int)")
        async with running_worker(pooler.dsn, app.registry, poll_interval=0.1, queues=("default", "limited")):
            ids = await asyncio.to_thread(_schedule_all, pooler.dsn)
            query = "select id, status, last_error from pgsched.tasks where id = any(%s) and status <> 'completed'"
            await wait_until_async(lambda: not rows(db, query, ids), message="everything is completed")
        assert rows(db, "select count(*) as n from entries") == [{"n": 400}]
        leaked = rows(
            db,
            "select from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()"
            " and (query ilike 'listen%%' or state like 'idle in transaction%%')",
        )
        assert leaked == []


def _schedule_all(dsn: str) -> list[int]:
    with Client(dsn) as client:
        ids = [client.schedule("mail", {"number": number}) for number in range(20)]
        ids += client.schedule_many(
            TaskSpec(task_type="mail", payload={"number": number}, idempotency_key=f"many {number}")
            for number in range(200)
        )
        ids += [client.schedule(name) for name in ("entry", "entry_plain") for _ in range(20)]
        client.limit_queue("limited", concurrency=2)
        ids += [client.schedule("mail", {"number": number}, queue="limited") for number in range(20)]
        ids.append(client.schedule("mail", {"number": 1}, depends_on=ids[:2]))
        steps = [step("mail", {"number": number}, name=f"step {number}") for number in range(3)]
        ids.append(client.schedule_group(group(parallel(*steps))))
        ids.append(client.schedule("mail", {"number": 1}, every="50ms", times=3))
        return ids


async def test_settings_of_a_claim_do_not_stay_in_a_session_that_others_use(dsn: str, pooler: PgBouncer) -> None:
    with database(dsn) as db:
        async with running_worker(pooler.dsn, poll_interval=0.05):
            db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 50)")
            query = "select from pgsched.tasks where status <> 'completed'"
            await wait_until_async(lambda: not rows(db, query), message="everything is completed")
            with connect(pooler.dsn) as link:
                for _ in range(20):  # in turns on every session
                    (found,) = link.execute(
                        "select current_setting('enable_seqscan'), current_setting('plan_cache_mode')"
                    )
                    assert found == ("on", "auto")


async def test_a_worker_behind_a_pooler_polls_and_with_a_second_dsn_it_listens(
    dsn: str, pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sleep, "SECOND_LOOKS", ())  # they would find the row, too
    with pytest.raises(BehindPooler):
        await listen(pooler.dsn, on_ready=lambda: None, on_notification=lambda notification: None)
    with database(dsn) as db:
        async with running_worker(pooler.dsn, poll_interval=30) as polling:
            listening = """
                select pid from pg_stat_activity
                where datname = current_database() and application_name like '%listener' and query ~ '^listen'
            """
            await wait_until_async(lambda: polling.health.unready() is None, message="the worker claims")
            assert not polling.counts.listener_connected
        async with running_worker(pooler.dsn, poll_interval=30, listen_dsn=dsn) as woken:
            await wait_until_async(lambda: woken.counts.listener_connected, message="the worker listens")
            assert len(rows(db, listening)) == 1
            sleeps = "select from pgsched.workers where sleeping_until > now() + interval '20 seconds'"
            await wait_until_async(lambda: bool(rows(db, sleeps)), message="the worker sleeps")
            db.execute("insert into pgsched.tasks (task_type) values ('mail')")
            query = "select from pgsched.tasks where status <> 'completed'"
            await wait_until_async(lambda: not rows(db, query), message="the worker was woken")


async def test_a_claim_that_locks_nothing_behind_a_pooler_is_no_error(dsn: str, pooler: PgBouncer) -> None:
    """The transaction that has locked nothing is ended by a commit of its own, and not by one within another."""
    app = App()

    @app.task("mail")
    async def mail() -> None:
        """Short enough to run while its row is only locked."""

    with database(dsn) as db:
        async with running_worker(pooler.dsn, app.registry, poll_interval=0.05) as worker:
            for _ in range(20):
                db.execute("insert into pgsched.tasks (task_type) select 'mail' from generate_series(1, 20)")
                await asyncio.sleep(0.05)
            query = "select from pgsched.tasks where status <> 'completed'"
            await wait_until_async(lambda: not rows(db, query), message="everything is completed")
            assert worker.counts.database_errors == 0


@pytest.mark.parametrize("kept", [True, False])
async def test_a_transaction_that_its_handler_does_not_use_outlives_the_idle_transaction_timeout(
    dsn: str, kept: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of an async handler, a plain one and a step. The negative control: nothing is sent, and the handler fails."""
    if not kept:
        monkeypatch.setattr(kept_transactions, "PAUSE_SECONDS", 60.0)
    app = App()

    @app.task("idles", transactional=True)
    async def idles(ctx: Context) -> None:
        await ctx.connection.execute("select 1")
        await asyncio.sleep(1.6)

    @app.task("idles_plain", transactional=True)
    def idles_plain(ctx: Context) -> None:
        ctx.connection.execute("select 1")
        time.sleep(1.6)

    @app.task("steps", durable=True)
    async def steps(ctx: DurableContext) -> None:
        async def wait(connection: Any) -> None:
            await connection.execute("select 1")
            await asyncio.sleep(1.6)

        await ctx.step("wait", wait, transactional=True)

    settings = {"idle_transaction_timeout": "1"}
    with database(dsn) as db, PgBouncer(dsn, size=8, settings=settings) as pooler:
        async with running_worker(pooler.dsn, app.registry, poll_interval=0.05, transactions=4):
            for task_type in ("idles", "idles_plain", "steps") if kept else ("idles",):
                db.execute("insert into pgsched.tasks (task_type, max_attempts) values (%s, 1)", (task_type,))
            query = "select from pgsched.tasks where status in ('pending', 'running')"
            await wait_until_async(lambda: not rows(db, query), message="everything has ended")
        ends = {row["status"] for row in rows(db, "select status from pgsched.tasks")}
        assert ends == {"completed" if kept else "dead"}


def test_following_events_through_a_pooler_is_refused_in_one_line(pooler: PgBouncer) -> None:
    with pytest.raises(BehindPooler, match="--dsn must lead to the server itself"):
        next(follow(pooler.dsn, on_ready=lambda: None))
