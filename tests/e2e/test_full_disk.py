"""Programs whose own output goes to a full disk: /dev/full refuses every write as one does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from tests.support.processes import CHECKOUT
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not os.path.exists("/dev/full"), reason="only Linux has /dev/full"),  # noqa: PTH110
]


def test_a_command_says_in_one_line_that_its_output_cannot_be_written(dsn: str) -> None:
    with open("/dev/full", "w") as full:  # noqa: PTH123
        done = subprocess.run(
            [sys.executable, "-m", "pgsched", "--dsn", dsn, "stats"],
            cwd=CHECKOUT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "pgsched: the output cannot be written: No space left on device",
    )


def test_a_worker_whose_log_is_on_a_full_disk_works_and_ends_in_order(dsn: str) -> None:
    with database(dsn) as db, open("/dev/full", "w") as full:  # noqa: PTH123
        db.execute("insert into pgsched.tasks (task_type) select 'brief' from generate_series(1, 50)")
        worker = subprocess.Popen(
            [sys.executable, "-m", "pgsched", "--dsn", dsn, "worker", "--app", "chaos.load.app:app"],
            cwd=CHECKOUT,
            stdout=full,
            stderr=full,
        )
        try:
            wait_until(
                lambda: not db.execute("select from pgsched.tasks where status <> 'completed' limit 1").fetchall(),
                message="every task is completed",
            )
            worker.send_signal(signal.SIGTERM)
            assert worker.wait(60) == 0
        finally:
            worker.kill()
            worker.wait()
