"""Workers that are asked to end while they work: once, twice, and by Ctrl-C in a terminal."""

from __future__ import annotations

import signal
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.fleet import (
    Connection,
    Fleet,
    insert,
    open_gate,
    wait_for_completed,
    wait_for_handlers,
    wait_until_done,
)
from chaos.invariants import assert_all_completed, assert_invariants
from tests.support.waiting import wait_until

Fleets = Callable[..., Fleet]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_asked_to_end_with_50_running_tasks_each_is_finished_or_handed_back(
    fleet_of: Fleets, books: Connection, tmp_path: Path, number: signal.Signals
) -> None:
    fleet = fleet_of("--concurrency", "50", "--shutdown-timeout", "2")
    worker = fleet.start()
    short = insert(books, 30, "pause", "pause_plain", seconds=0.3)
    endless = insert(books, 20, "gated", "gated_plain")
    wait_for_handlers(tmp_path, short + endless)
    worker.signal(number)
    assert worker.wait() == 0, worker.output

    rows = books.execute("select * from pgsched.tasks").fetchall()
    assert Counter(row["status"] for row in rows) == {"completed": 30, "pending": 20}
    back = [row for row in rows if row["status"] == "pending"]
    assert sorted(row["id"] for row in back) == endless
    assert {(row["attempts"], row["locked_by"], row["locked_until"]) for row in back} == {(0, None, None)}
    assert books.execute("select * from pgsched.workers").fetchall() == []
    assert_invariants(books, short + endless)

    open_gate(tmp_path)
    fleet.start()
    wait_until_done(books)
    assert_all_completed(books, short + endless)
    assert {row["attempt"] for row in books.execute("select attempt from pgsched.executions")} == {1}


@pytest.mark.parametrize("processes", [1, 2])
def test_second_signal_ends_a_worker_at_once_and_nothing_is_lost(
    fleet_of: Fleets, books: Connection, tmp_path: Path, processes: int
) -> None:
    fleet = fleet_of("--processes", str(processes), "--lease", "1", "--shutdown-timeout", "600")
    worker = fleet.start()
    ids = insert(books, 10, "gated", "gated_plain")
    wait_for_handlers(tmp_path, ids)
    wait_until(lambda: worker.output.count("worker_started") == processes, message="every process works")
    worker.signal(signal.SIGTERM)
    wait_until(lambda: worker.output.count("worker_stopping") == processes, message="every process stops")
    worker.signal(signal.SIGTERM)
    assert worker.wait() == 1, worker.output
    assert_invariants(books, ids)

    open_gate(tmp_path)
    fleet.start()
    wait_until_done(books)
    assert_all_completed(books, ids)
    statuses = Counter(row["status"] for row in books.execute("select status from pgsched.executions"))
    assert statuses == {"lost": len(ids), "completed": len(ids)}


def test_ctrl_c_in_a_terminal_reaches_each_of_two_processes_once(
    fleet_of: Fleets, books: Connection, tmp_path: Path
) -> None:
    fleet = fleet_of("--processes", "2")
    worker = fleet.start()
    ids = insert(books, 10, "gated", "gated_plain")
    wait_for_handlers(tmp_path, ids)
    wait_until(lambda: worker.output.count("worker_started") == 2, message="both processes work")
    worker.signal(signal.SIGINT, group=True)
    wait_until(lambda: worker.output.count("worker_stopping") == 2, message="both processes stop")
    open_gate(tmp_path)  # only now: a process that was told twice has ended without this
    assert worker.wait() == 0, worker.output
    wait_for_completed(books, len(ids))
    assert_all_completed(books, ids)
    assert {row["attempt"] for row in books.execute("select attempt from pgsched.executions")} == {1}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_processes_that_are_asked_to_end_before_they_work_end_in_order(
    fleet_of: Fleets, books: Connection, number: signal.Signals
) -> None:
    worker = fleet_of("--processes", "4", "--metrics-port", "0").start()
    worker.wait_for_output("metrics_served")  # the parent listens to signals; its children are being started
    worker.signal(number)
    assert worker.wait() == 0, worker.output
    assert "Traceback" not in worker.output
    assert books.execute("select * from pgsched.workers").fetchall() == []
