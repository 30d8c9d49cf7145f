"""Deleting beside real workers: nothing that waits, runs or is needed is lost, and nobody stands in another's way."""

from __future__ import annotations

import threading

import pytest

from pgsched import Client
from pgsched.domain.workflow import group, parallel, step
from tests.support.engine import rows
from tests.support.processes import PgschedRunner
from tests.support.retained import prune_now
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
from pgsched import App, Context

app = App()


@app.task("add")
def add(number: int, ctx: Context) -> int:
    return number + sum(result for result in ctx.dependencies.values() if result is not None)
"""
CHAINS, LENGTH, GROUPS, PLAIN = 20, 6, 10, 1500


def test_workers_drain_while_two_delete_all_that_is_finished(dsn: str, run_pgsched: PgschedRunner) -> None:
    """Two workers, two who delete at once: each task runs once, each finds the results that it depends on."""
    (run_pgsched.folder / "adding.py").write_text(APP)
    stop = threading.Event()
    trouble: list[Exception] = []

    def delete() -> None:
        while not stop.is_set():
            try:
                prune_now(dsn)
            except Exception as error:  # noqa: BLE001 - told by the test
                trouble.append(error)
                return

    with database(dsn) as db, Client(dsn) as client:
        db.execute("create table kept (id bigint, result jsonb)")
        db.execute(
            """
            create function keep() returns trigger language plpgsql as
            $$begin insert into public.kept values (old.id, old.result); return null; end$$
            """
        )
        db.execute("create trigger keep after delete on pgsched.tasks for each row execute function keep()")
        ends = {}
        for chain in range(CHAINS):
            last: list[int] = []
            for number in range(LENGTH):
                last = [client.schedule("add", {"number": 10**number}, depends_on=last)]
            ends[last[0]] = chain
        groups = [
            client.schedule_group(
                group(
                    parallel(*(step("add", {"number": n}, name=f"s{n}") for n in range(4))), step("add", {"number": 7})
                )
            )
            for _ in range(GROUPS)
        ]
        db.execute(
            "insert into pgsched.tasks (task_type, payload) select 'add', %s from generate_series(1, %s)",
            ('{"number": 1}', PLAIN),
        )
        deleting = [threading.Thread(target=delete) for _ in range(2)]
        for thread in deleting:
            thread.start()
        try:
            for _ in range(2):
                run_pgsched("worker", "--app", "adding:app")
            total = CHAINS * LENGTH + GROUPS * 6 + PLAIN
            wait_until(
                lambda: rows(db, "select count(*) as n from kept")[0]["n"] == total or bool(trouble),
                message="all ran and are gone",
            )
        finally:
            stop.set()
            for thread in deleting:
                thread.join()
        assert trouble == []
        results = {row["id"]: row["result"] for row in rows(db, "select id, result from kept")}
        assert {results[end] for end in ends} == {int("1" * LENGTH)}, "each saw the one before it"
        assert all(results[one]["add"] == 7 + 0 + 1 + 2 + 3 for one in groups)
        counted = rows(
            db,
            "select count(*) as n, count(distinct task_id) as tasks from pgsched.executions where status = 'completed'",
        )
        assert counted == [{"n": total, "tasks": total}]
        assert rows(db, "select from pgsched.dependencies") == []
