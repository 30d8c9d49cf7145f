"""One worker in the test's own process, driven tick by tick, and the rows it works on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.domain.attempt import Claimed
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.domain.events import Hooks
from pgsched.domain.interval import Interval
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.process_pool import Serve
from pgsched.execution.registry import Registry
from pgsched.execution.surroundings import NOTHING_AROUND, Surroundings
from pgsched.worker.scan import Scan
from pgsched.worker.traces import Traces
from pgsched.worker.worker import Worker
from tests.support.waiting import wait_until_async

Rows = list[dict[str, Any]]

NOW = datetime(2030, 6, 1, 12, tzinfo=UTC)
PATIENCE = 15.0
"""Seconds after which a test that hangs is given up."""


def claimed(**columns: Any) -> Claimed:
    """A one-time row as its first claim returns it, but for ``columns``; NOW is when it was due and claimed."""
    return Claimed(
        **{  # type: ignore[arg-type]
            "id": 1,
            "task_type": "mail",
            "queue": "default",
            "priority": 5,
            "payload": {},
            "schedule_type": _schedule_type(columns),
            "scheduled_for": NOW,
            "next_run_at": NOW,
            "late": 0.0,
            "attempts": 1,
            "max_attempts": 3,
            "fencing_token": 1,
            "timeout": None,
            "backoff": "exponential",
            "backoff_delay": Interval(microseconds=5_000_000),
            "backoff_max": Interval(microseconds=3_600_000_000),
            "backoff_factor": None,
            "backoff_jitter": None,
            "cron_expression": None,
            "timezone": "UTC",
            "start_date": None,
            "end_date": None,
            "repeat_interval": None,
            "repeat_count": None,
            "execution_count": 0,
            "on_missed": "once",
            "catchup_window": None,
            "overlap": "skip",
            "jitter": None,
            "planned_from": NOW - timedelta(days=1000),
            "revision": 0,
            "lease_expired": False,
            "bytes": 2,
        }
        | columns
    )


def _schedule_type(columns: dict[str, Any]) -> str:
    if columns.get("cron_expression"):
        return "recurring"
    return "repeating" if columns.get("repeat_interval") else "one_time"


def handlers(**functions: Callable[..., Any]) -> Registry:
    """A registry: ``handlers(mail=function)``."""
    registry = Registry()
    for task_type, function in functions.items():
        registry.register(task_type, function)
    return registry


async def nothing() -> None:
    """A handler that does nothing."""


def look_everywhere(worker: Worker) -> None:
    """Let the next claim look at all rows, however long a claim took before, and lease what it takes."""
    worker.shared_claims.scan = Scan()


class Engine:
    """The parts of one worker; nothing runs but what the test calls."""

    def __init__(
        self,
        dsn: str,
        registry: Registry,
        *,
        hooks: Hooks | None = None,
        serve: Serve | None = None,
        traces: Traces | None = None,
        **settings: Any,
    ) -> None:
        self.worker = Worker(
            dsn=dsn,
            registry=registry,
            settings=WorkerSettings(**settings),
            counts_table=True,
            hooks=hooks,
            serve=serve,
            traces=traces,
        )
        self.leased_tasks = self.worker.leased_tasks
        self.counts = self.worker.counts
        self.completer = self.worker.completer

    async def claim(self, limit: int = 100, *, at_floor: bool = False) -> list[Claimed]:
        """Claim once, from the first row on or from the last one claimed; returns the rows that came."""
        if not at_floor:
            look_everywhere(self.worker)
        before = set(self.leased_tasks.snapshot())
        await self.worker.claimer.run_once(limit)
        return [leased.task for leased in self.leased_tasks.snapshot() if leased not in before]

    async def run(self, *, until: Callable[[], bool] | None = None) -> None:
        """Start what was claimed, and write what comes of it until nothing is in hand (or ``until``)."""
        self.worker.executor.feed()
        async with asyncio.timeout(PATIENCE):
            while not (until() if until else not len(self.leased_tasks)):
                with suppress(TimeoutError):  # a transactional handler writes its outcome itself
                    await asyncio.wait_for(self.completer.wakeup.wait(), 0.02)
                await self.completer.run_once()

    async def started(self) -> None:
        """Start what was claimed, and wait until nothing waits for a slot."""
        self.worker.executor.feed()
        await wait_until_async(lambda: not self.leased_tasks.waiting, message="everything has a slot")

    async def finished(self, count: int = 1) -> None:
        """Wait until so many finishes are ready to be written."""
        await wait_until_async(lambda: len(self.completer) >= count, message=f"{count} attempts have ended")

    async def work(self, limit: int = 100) -> list[Claimed]:
        """Claim once, run what came, write the outcomes."""
        tasks = await self.claim(limit)
        await self.run()
        return tasks


@asynccontextmanager
async def engine(dsn: str, registry: Registry | None = None, **settings: Any) -> AsyncIterator[Engine]:
    """An engine whose slots are open; without a registry it knows ``mail``, which does nothing."""
    made = Engine(dsn, registry or handlers(mail=nothing), **settings)
    made.worker.executor.start()
    await asyncio.sleep(0)
    try:
        yield made
    finally:
        await made.worker.executor.interrupt(0)
        await made.worker.executor.drain(2)
        made.worker.executor.close()
        made.worker.heartbeat.stop(2)
        await made.worker.ending().leave()


@asynccontextmanager
async def running_worker(
    dsn: str,
    registry: Registry | None = None,
    *,
    hooks: Hooks | None = None,
    serve: Serve | None = None,
    surroundings: Surroundings = NOTHING_AROUND,
    **settings: Any,
) -> AsyncIterator[Worker]:
    """A worker whose loops run; stopped in order at the end."""
    worker = Worker(
        dsn=dsn,
        registry=registry or handlers(mail=nothing),
        settings=WorkerSettings(**settings),
        hooks=hooks,
        serve=serve,
        surroundings=surroundings,
    )
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await asyncio.wait_for(task, PATIENCE)


def rows(connection: psycopg.Connection[dict[str, Any]], statement: str, *parameters: Any) -> Rows:
    """What a statement returns."""
    return connection.execute(statement, parameters or None).fetchall()  # type: ignore[arg-type]


def history(connection: psycopg.Connection[dict[str, Any]], task_id: int) -> Rows:
    """The executions of a task, the first attempt in front."""
    return rows(connection, "select * from pgsched.executions where task_id = %s order by fencing_token", task_id)


def expire_leases(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Let every lease have run out a second ago, as if its worker had died."""
    connection.execute("update pgsched.tasks set locked_until = now() - interval '1 second' where status = 'running'")


def steal_leases(connection: psycopg.Connection[dict[str, Any]]) -> None:
    """Let another worker have claimed every row that runs, as if its lease had run out."""
    connection.execute(
        """
        update pgsched.tasks
        set locked_by = gen_random_uuid(), locked_until = now() + interval '1 minute', attempts = attempts + 1,
          fencing_token = fencing_token + 1
        where status = 'running'
        """
    )


def make_due(connection: psycopg.Connection[dict[str, Any]], task_id: int) -> None:
    """Let a waiting task be due a moment ago."""
    connection.execute(
        "update pgsched.tasks set next_run_at = now() - interval '1 millisecond' where id = %s", (task_id,)
    )


async def work_and_send_again(one: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Claim and run; the finish is committed, but its answer is lost, so it is sent again."""
    session = one.worker.finish_session
    execute_all = session.execute_all

    async def lose_the_answer(commands: Any) -> Any:
        await execute_all(commands)
        raise DatabaseUnavailable("the answer was lost")

    await one.claim()
    await one.started()
    await one.finished()
    with monkeypatch.context() as lost:
        lost.setattr(session, "execute_all", lose_the_answer)
        with pytest.raises(DatabaseUnavailable):
            await one.completer.run_once()
    await one.completer.run_once()
