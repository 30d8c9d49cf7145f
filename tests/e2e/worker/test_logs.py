"""What a worker writes to its log of attempts, and of what handlers log themselves."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

APP = """
import logging
import structlog
from pgsched import App, Context

app = App()
log, said = logging.getLogger("shop.orders"), structlog.get_logger("shop.mail")


def tell(**more):
    log.warning("order %s is late", 7, extra={"parcels": 2, "event": "mine", "level": "mine"})
    said.info("sent", to="ann")
    try:
        1 / 0
    except ZeroDivisionError:
        log.exception("not packed")


@app.task("loop")
async def loop():
    tell()


@app.task("thread")
def thread():
    tell()


@app.task("child", executor="process")
def child():
    tell()


@app.task("paid", transactional=True)
async def paid(ctx: Context):
    await ctx.connection.execute("select 1")


log.warning("imported")
"""


def lines_of(stderr: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stderr.splitlines() if line.startswith("{")]


@pytest.mark.parametrize("task_type", ["loop", "thread", "child"])
def test_what_handlers_log_says_logger_extra_and_attempt(
    dsn: str, run_pgsched: PgschedRunner, tmp_path: Path, task_type: str
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with database(dsn) as db:
        task_id = insert_task(db, task_type)
    worker = run_pgsched("worker", "--app", "shop:app", dsn=dsn)
    worker.wait_for_output("not packed")
    assert worker.stop() == 0
    lines = lines_of(worker.stderr)
    attempt = {"task_id": task_id, "task_type": task_type, "attempt": 1}
    late, sent, failed = (
        next(line for line in lines if line["event"] == event) for event in ("order 7 is late", "sent", "not packed")
    )
    assert late.pop("timestamp")
    assert late == {"event": "order 7 is late", "level": "warning", "logger": "shop.orders", "parcels": 2, **attempt}
    assert sent.pop("timestamp")
    assert sent == {"event": "sent", "level": "info", "logger": "shop.mail", "to": "ann", **attempt}
    assert failed["logger"] == "shop.orders"
    assert "ZeroDivisionError: division by zero" in failed["exception"]
    assert failed.items() >= attempt.items()
    outside = next(line for line in lines if line["event"] == "imported")
    assert outside["logger"] == "shop.orders"
    assert "task_id" not in outside


@pytest.mark.parametrize("level", ["debug", "info"])
def test_each_completed_attempt_is_a_line_at_debug(
    dsn: str, run_pgsched: PgschedRunner, tmp_path: Path, level: str
) -> None:
    (tmp_path / "shop.py").write_text(APP)
    with database(dsn) as db:
        ids = {task_type: insert_task(db, task_type) for task_type in ("loop", "thread", "child", "paid")}
        worker = run_pgsched("--log-level", level, "worker", "--app", "shop:app", dsn=dsn)
        wait_until(lambda: all(task_row(db, one)["status"] == "completed" for one in ids.values()), message="all ran")
    assert worker.stop() == 0
    found = [line for line in lines_of(worker.stderr) if line["event"] == "attempt_completed"]
    if level == "info":
        assert found == []
        return
    assert {line["task_type"]: line["task_id"] for line in found} == ids
    for line in found:
        assert (line["level"], line["attempt"], line["queue"]) == ("debug", 1, "default")
        assert 0 <= line["seconds"] < 60
        assert "payload" not in line
