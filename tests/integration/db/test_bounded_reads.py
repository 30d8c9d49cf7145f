"""What is read of one task is found by an index, beside many finished ones and their history."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest

from pgsched.db.queries import dashboard, durable_pages, task_search, tasks
from pgsched.db.query import Command
from tests.support.tables import insert_task

pytestmark = pytest.mark.slow

Database = psycopg.Connection[dict[str, Any]]

ROWS = 20_000
MOST_PAGES = 400
"""Of 8 kB, hits and catalogues included; each table has more than twice as many."""


@pytest.fixture
def crowded(db: Database) -> tuple[Database, int]:
    """A schedule whose ticks children ran, among many tasks that ended."""
    schedule = insert_task(db, "report", repeat_interval="1 hour")
    db.execute("set session_replication_role = replica")
    db.execute(
        """
        insert into pgsched.tasks (task_type, schedule_type, queue, priority, scheduled_for, status, attempts,
          fencing_token, started_at, completed_at, parent_id, idempotency_key, tags, metadata, timezone, on_missed,
          overlap, max_attempts, backoff, backoff_delay, backoff_max, dependency_mode, on_dependency_dead)
        select 'mail', 'one_time', 'default', 5, now(), 'completed', 1, 1, now(), now(),
          case when n % 2000 = 0 then %(schedule)s end, case when n % 2000 = 0 then 'tick:' || n end, '{}', '{}', 'UTC',
          'once', 'skip', 3, 'exponential', '5 seconds', '1 hour', 'all', 'cancel'
        from generate_series(1, %(rows)s) n
        """.replace("% 2000", "%% 2000"),
        {"schedule": schedule, "rows": ROWS},
    )
    db.execute(
        """
        insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, scheduled_for, worker_id,
          status, started_at, finished_at, duration_ms)
        select id, task_type, queue, 1, 1, scheduled_for, gen_random_uuid(), 'completed', now(), now(), 1
        from pgsched.tasks
        """
    )
    db.execute("reset session_replication_role")
    db.execute("vacuum analyze")
    return db, schedule


def pages_read(db: Database, command: Command[Any], plan: str) -> int:
    db.execute(f"set plan_cache_mode = {plan}".encode())
    rows = db.execute(
        f"explain (analyze, buffers, format json) {command.statement}".encode(), command.params
    ).fetchall()
    root = rows[0]["QUERY PLAN"][0]["Plan"]
    return int(root["Shared Hit Blocks"] + root["Shared Read Blocks"])


@pytest.mark.parametrize("plan", ["force_custom_plan", "force_generic_plan"])
def test_what_is_read_of_one_task_does_not_grow_with_the_table(crowded: tuple[Database, int], plan: str) -> None:
    db, schedule = crowded
    read = {
        command.statement[:60]: pages_read(db, command, plan)
        for task in (schedule, schedule + 1, schedule + ROWS // 2)
        for command in (
            tasks.get(task),
            tasks.stand(task),
            tasks.executions(task, limit=50),
            tasks.missed_ticks(task, limit=50),
            tasks.logs(task, limit=50),
            tasks.tree(task),
            durable_pages.list_runs(task, limit=50),
        )
    }
    assert {name: pages for name, pages in read.items() if pages > MOST_PAGES} == {}


LATEST: dict[str, Any] = {"all": {}, "of a status": {"status": ["completed"]}, "of a queue": {"queue": "default"}}


@pytest.mark.parametrize("filters", LATEST.values(), ids=LATEST)
def test_latest_tasks_are_read_in_their_order_not_sorted(crowded: tuple[Database, int], filters: Any) -> None:
    db, _ = crowded
    assert pages_read(db, task_search.list_tasks(**filters), "force_custom_plan") < MOST_PAGES


def test_failures_are_found_by_an_index_of_their_own(crowded: tuple[Database, int]) -> None:
    db, _ = crowded
    since = datetime.now(UTC) - timedelta(days=1)
    failed = dashboard.latest_executions(
        since=since, queue=None, task_type=None, status="failed", before=None, limit=50
    )
    assert pages_read(db, failed, "auto") < MOST_PAGES / 4


def test_a_statement_that_reads_the_table_is_seen(crowded: tuple[Database, int]) -> None:
    db, _ = crowded
    everything = Command("select count(*) from pgsched.executions", {}, len)
    assert pages_read(db, everything, "auto") > MOST_PAGES / 2
