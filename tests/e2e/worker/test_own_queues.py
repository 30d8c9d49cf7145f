"""Which queues a worker serves that is told none, and what it says of those that nobody serves."""

from __future__ import annotations

from pathlib import Path

from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

APP = """
from pgsched import App, Router

app, router = App(), Router()
app.task("mail", queue="letters")(lambda: None)
report = router.task("report")(lambda: None)
report.declare(name="daily", cron="0 8 * * *", queue="reports")
app.include(router)
"""


def test_without_a_queue_it_serves_those_of_its_handlers_and_default(run_pgsched: PgschedRunner, dsn: str) -> None:
    Path(run_pgsched.folder, "tasks.py").write_text(APP)
    with database(dsn) as db:
        served = [insert_task(db, "mail", queue="letters"), insert_task(db, "mail")]
        odd, elsewhere = insert_task(db, "odd"), insert_task(db, "mail", queue="elsewhere")
        worker = run_pgsched("worker", "--app", "tasks:app")
        wait_until(lambda: all(task_row(db, task)["status"] == "completed" for task in served), message="both have run")
        found = db.execute("select queues from pgsched.workers").fetchall()
        assert worker.stop() == 0
        assert found == [{"queues": ["default", "letters", "reports"]}]
        assert [task_row(db, task)["status"] for task in (odd, elsewhere)] == ["pending"] * 2
    told = [line for line in worker.stderr.splitlines() if "due_without_worker" in line]
    assert len(told) == 2
    assert '"odd"' in told[0]
    assert '"elsewhere"' in told[1]


def test_with_a_queue_it_serves_that_one(run_pgsched: PgschedRunner, dsn: str) -> None:
    Path(run_pgsched.folder, "tasks.py").write_text(APP)
    with database(dsn) as db:
        worker = run_pgsched("worker", "--app", "tasks:app", "--queue", "reports")
        worker.wait_for_output("worker_started")
        assert db.execute("select queues from pgsched.workers").fetchall() == [{"queues": ["reports"]}]
        assert worker.stop() == 0
