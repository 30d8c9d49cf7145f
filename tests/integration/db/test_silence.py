"""A server that says nothing any more: connections that nobody closed, and answers that never come."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
from psycopg.conninfo import conninfo_to_dict

from chaos.proxy import Proxy
from pgsched.app.app import App
from pgsched.client.client import Client
from pgsched.db.connection import SilentServer, connect, connect_async
from pgsched.db.notifications import listen
from pgsched.db.session import Session
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.execution.context import Context
from tests.support.engine import engine, expire_leases, rows
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until_async

pytestmark = pytest.mark.slow


@pytest.fixture
def proxy(dsn: str) -> Iterator[Proxy]:
    if not str(conninfo_to_dict(dsn).get("host")).startswith("/"):
        pytest.skip("the proxy needs a server on a unix socket")
    with Proxy(dsn) as proxy:
        yield proxy


def test_an_answer_that_does_not_come_is_waited_for_no_longer_than_patience(proxy: Proxy) -> None:
    """Checked by hand: with ``answer_timeout`` left at infinity the statement waits for ever."""
    with connect(proxy.dsn, answer_timeout=0.3) as link:
        assert link.execute("select 1").fetchone() == (1,)
        proxy.tell("silent")
        with pytest.raises(SilentServer, match=r"no answer within 0\.3 s"):
            link.execute("select 1")
        assert link.closed


def test_patience_is_for_silence_and_not_for_a_statement_that_answers_bit_by_bit(proxy: Proxy) -> None:
    with connect(proxy.dsn, answer_timeout=0.5) as link:
        slow = "select pg_sleep(0.1), repeat('x', 100000) from generate_series(1, 10)"
        assert len(link.execute(slow).fetchall()) == 10


async def test_whoever_stops_waiting_for_a_silent_server_is_free_at_once(proxy: Proxy) -> None:
    link = await connect_async(proxy.dsn)
    proxy.tell("silent")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await link.execute("select 1")
    assert link.closed


async def test_a_silent_host_does_not_use_up_the_time_for_the_other_hosts_of_a_dsn(dsn: str, proxy: Proxy) -> None:
    """With the time limit of a single host, which is longer than that of the statement, no host was ever reached."""
    proxy.tell("silent")
    given = conninfo_to_dict(dsn)
    hosts = f"host=127.0.0.1,{given['host']} port={proxy.port},{given.get('port', 5432)} sslmode=disable"
    both = f"{hosts} user={given['user']} dbname={given['dbname']} target_session_attrs=read-write"
    session = Session(dsn=both, name="pgsched finish", timeout=5.0)
    try:
        assert await session.fetch("select 1") == [(1,)]
    finally:
        await session.close()


async def test_a_statement_that_nobody_waits_for_is_stopped_where_the_server_answers(dsn: str) -> None:
    link = await connect_async(dsn, application_name="given up")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await link.execute("select pg_sleep(60)")
    with database(dsn) as db:
        query = "select from pg_stat_activity where application_name = 'given up' and state = 'active'"
        await wait_until_async(lambda: not rows(db, query), message="the statement has ended")


async def test_a_heartbeat_that_gets_no_answer_goes_on_by_another_connection(dsn: str, proxy: Proxy) -> None:
    with database(dsn) as db:
        async with engine(proxy.dsn, lease=2) as one:
            await asyncio.to_thread(one.worker.heartbeat.run_once)
            before = rows(db, "select heartbeat_at from pgsched.workers")
            proxy.tell("silent")
            with pytest.raises(DatabaseUnavailable, match="no answer within 1 s"):
                await asyncio.to_thread(one.worker.heartbeat.run_once)
            proxy.tell("pass")
            await asyncio.to_thread(one.worker.heartbeat.run_once)
            assert rows(db, "select heartbeat_at from pgsched.workers") != before


async def test_a_client_leaves_a_connection_that_fell_silent_while_it_was_idle(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsched.db.database.CHECK_SECONDS", 0.3)

    def schedule_twice() -> None:
        with Client(proxy.dsn) as client:
            client.schedule("mail")
            proxy.tell("silent")
            proxy.tell("pass")  # what was open stays silent
            client.schedule("mail")

    await asyncio.wait_for(asyncio.to_thread(schedule_twice), 10)


async def test_a_listener_is_not_held_up_by_a_server_that_does_not_answer_its_listen(
    proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsched.db.notifications.PROBE_SECONDS", 0.2)
    monkeypatch.setattr("pgsched.db.notifications.PROBE_TIMEOUT", 0.2)
    with pytest.raises(DatabaseUnavailable, match="silent"):
        await listen(proxy.dsn, on_ready=lambda: proxy.tell("silent") and None, on_notification=lambda _: None)


async def test_a_plain_handler_whose_connection_fell_silent_lets_go_of_its_thread(
    dsn: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pgsched.db.handler_connection.LEFT_SECONDS", 0.3)
    asked, left = threading.Event(), threading.Event()
    app = App()

    @app.task("mail", transactional=True)
    def mail(ctx: Context) -> None:
        if ctx.attempt > 1:
            return
        proxy.tell("silent")
        asked.set()
        try:
            ctx.connection.execute("select 1")
        finally:
            left.set()

    with database(dsn) as db:
        task_id = insert_task(db)
        async with engine(proxy.dsn, app.registry, concurrency=1) as one:
            await one.claim()
            one.worker.executor.feed()
            await asyncio.to_thread(asked.wait, 10)
            (leased,) = one.leased_tasks.snapshot()
            one.leased_tasks.abandon(leased)  # as the heartbeat does when the lease is lost
            await wait_until_async(left.is_set, message="the statement is given up")
            proxy.tell("pass")
            expire_leases(db)
            await wait_until_async(lambda: one.worker.executor.free == 1, message="its slot is free")
            await one.worker.claim_session.close()  # it is silent too, and would be noticed by and by
            await one.claim()
            await one.run()
        assert rows(db, f"select status from pgsched.tasks where id = {task_id}") == [{"status": "completed"}]
