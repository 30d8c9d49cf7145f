"""A worker that serves thousands of queues: its claims probe only where rows are due."""

from __future__ import annotations

import json
from collections.abc import Mapping
from time import monotonic
from typing import Any

import pytest

from pgsched.db.connection import connect_async
from pgsched.db.sql_files import load_statement
from pgsched.db.worker import claims, locking
from pgsched.worker.due_pairs import FEW, PROBES
from tests.support.engine import engine, handlers, nothing, rows
from tests.support.tables import database, insert_task

QUEUES = 5_000
NAMED = "'tenant-' || to_char(n, 'fm00000')"


@pytest.fixture
def probed(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many probes each claim made."""
    numbers: list[int] = []
    plain = claims.probe_parameters

    def count(*arguments: Any) -> Mapping[str, Any]:
        given = plain(*arguments)
        numbers.append(len(given["queues"]))
        return given

    for module in (claims, locking):
        monkeypatch.setattr(module, "probe_parameters", count)
    return numbers


async def test_a_claim_from_thousands_of_queues_probes_few_of_them(dsn: str, probed: list[int]) -> None:
    with database(dsn) as db:
        db.execute(
            f"insert into pgsched.tasks (task_type, queue) select 'mail', {NAMED} from generate_series(1, {QUEUES}) n"
        )
    limit = 1_000
    async with engine(dsn, queues=("tenant-*",), concurrency=limit) as one:
        turns = 0
        while len(one.leased_tasks) < QUEUES:
            turns += 1
            assert turns < 4 * QUEUES // limit
            await one.worker.claimer.run_once(limit)
        queues = {leased.task.queue for leased in one.leased_tasks.snapshot()}
        await one.worker.locked_batches.stop(60)
    assert len(queues) == QUEUES
    assert max(probed) <= limit


async def test_a_worker_of_many_queues_runs_what_is_announced_what_is_not_and_what_is_due_later(
    dsn: str, probed: list[int]
) -> None:
    names = [f"tenant-{number:05}" for number in range(FEW + 10)]
    async with engine(dsn, handlers(mail=nothing), queues=names) as one:
        with database(dsn) as db:
            urgent = insert_task(db, queue=names[40], priority=9)
            other = insert_task(db, queue=names[3], priority=5)
            assert [task.id for task in await one.claim()] == [urgent, other]
            announced = insert_task(db, queue=names[50])
            one.worker.claimer.wake_for(names[50])
            await one.worker.claimer.run_once(10)
            assert announced in {leased.task.id for leased in one.leased_tasks.snapshot()}
            await one.run()
            db.execute(
                "insert into pgsched.tasks (task_type, queue, scheduled_for) values ('mail', %s, now() + '1 hour')",
                (names[7],),
            )
            assert await one.claim() == []
            pairs = one.worker.shared_claims.scan.pairs
            assert 3000 < pairs.due_in(monotonic()) <= 3600
            late = insert_task(db, queue=names[8])
            assert [task.id for task in await one.claim()] == [late]
        await one.worker.locked_batches.stop(60)
    assert max(probed) <= PROBES


async def test_the_search_finds_each_pair_and_reads_each_a_few_times(dsn: str) -> None:
    queues = 300
    with database(dsn) as db:
        db.execute(
            f"""
            insert into pgsched.tasks (task_type, queue, priority, scheduled_for)
            select 'mail', {NAMED}, 1 + (n + m) % 3, now() + ((m - 3) || ' minutes')::interval
            from generate_series(1, {queues}) n, generate_series(1, 6) m
            """
        )
        db.execute("insert into pgsched.tasks (task_type, queue) select 'mail', 'large' from generate_series(1, 1000)")
        db.execute("analyze pgsched.tasks")
        wanted = rows(
            db,
            "select queue::text, priority, bool_or(next_run_at <= now()) as due,"
            " bool_or(next_run_at > now()) as later from pgsched.tasks group by 1, 2",
        )
        connection = await connect_async(dsn)
        async with connection:
            await connection.execute(load_statement("tune_session"))
            found = await (await connection.execute(load_statement("find_due_pairs"))).fetchall()
            explained = await connection.execute(
                "explain (analyze, buffers, format json) " + load_statement("find_due_pairs")  # type: ignore[arg-type]
            )
            answer = await explained.fetchone()
    assert answer is not None
    assert sorted((row[0], row[1], row[2], row[3] is not None) for row in found) == sorted(
        (row["queue"], row["priority"], row["due"], row["later"]) for row in wanted
    )
    plan = answer[0][0]["Plan"]
    text = json.dumps(plan)
    assert "Seq Scan" not in text
    assert "Sort" not in text
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 20 * len(wanted)


async def test_own_retries_and_unannounced_rows_are_found_by_the_claim_loop(dsn: str) -> None:
    """What no notification announced is found by the next search, however early that was wanted."""
    calls: list[int] = []

    async def flaky() -> None:
        calls.append(1)
        if len(calls) % 2:
            raise ValueError("no luck")

    names = [f"tenant-{number:05}" for number in range(FEW + 10)]
    async with engine(dsn, handlers(mail=flaky), queues=names, poll_interval=1) as one:
        with database(dsn) as db:
            insert_task(db, queue=names[5], backoff_delay="0.1 s", backoff_jitter=0)
        looking = one.worker.claimer
        for _ in range(200):
            if not await looking.run_once(10) and not len(one.leased_tasks):
                await looking.rest()
            if len(one.leased_tasks):
                await one.run()
            if len(calls) == 2:
                break
        await one.worker.locked_batches.stop(60)
    assert len(calls) == 2
