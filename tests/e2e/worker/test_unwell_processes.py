"""The parent of several worker processes replaces one that cannot mend itself."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from tests.support.processes import PgschedRunner
from tests.support.tables import database, insert_task
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
import threading
from pgsched import App
from pgsched.worker import troubles

troubles.HOPELESS_SECONDS = 0.5

app = App()

@app.task("stuck")
def stuck():
    threading.Event().wait(300)

@app.task("quick")
def quick(): ...
"""


def ready(port: int) -> dict[str, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/readyz", headers={"Accept": "application/json"})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read())  # type: ignore[no-any-return]
    except urllib.error.HTTPError as error:
        return json.loads(error.read())  # type: ignore[no-any-return]


def test_a_process_whose_slots_are_all_held_past_their_timeout_is_replaced(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path
) -> None:
    (tmp_path / "mod.py").write_text(APP)
    worker = run_pgsched(
        "worker", "--app", "mod:app", "--processes", "2", "--concurrency", "1", "--metrics-port", "0",
        "--shutdown-timeout", "0.5", dsn=dsn,
    )  # fmt: skip
    port = int(re.findall(r'"port": (\d+)', worker.wait_for_output(r"^.*metrics_served.*$", timeout=60).group())[0])
    wait_until(lambda: ready(port)["ready"], timeout=60, message="both processes are ready")
    with database(dsn) as db:
        pids = {row["pid"] for row in db.execute("select pid from pgsched.workers").fetchall()}
        insert_task(db, "stuck", timeout="100 milliseconds", max_attempts=1)
        wait_until(lambda: ready(port)["troubles"], timeout=60, message="the trouble is told")
        worker.wait_for_output(r"overdue_attempts.*process_unwell", timeout=60)
        wait_until(
            lambda: len({row["pid"] for row in db.execute("select pid from pgsched.workers").fetchall()} - pids) == 1,
            timeout=60,
            message="another process has come in place of it, and the other one has stayed",
        )
        wait_until(lambda: ready(port)["ready"], timeout=60, message="both are ready again")
        insert_task(db, "quick")
        wait_until(
            lambda: db.execute("select from pgsched.tasks where status = 'completed'").fetchall(),
            timeout=60,
            message="tasks run again",
        )
    assert worker.stop(timeout=60) == 0
