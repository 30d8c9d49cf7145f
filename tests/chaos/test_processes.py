"""``--processes``: several workers under one parent."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.fleet import (
    Connection,
    Fleet,
    Scrape,
    insert,
    open_gate,
    wait_for_completed,
    wait_for_handlers,
    workers,
)
from chaos.invariants import assert_all_completed
from pgsched.builtin.settings import Builtins
from pgsched.domain.settings import WorkerSettings
from pgsched.worker.supervisor import Job, _Parent
from tests.support.waiting import wait_until

psutil = pytest.importorskip("psutil", reason="needs the extra `embedded`")

OPTIONS = ("--processes", "2", "--concurrency", "1", "--lease", "2", "--poll-interval", "0.2", "--metrics-port", "0")


def test_both_processes_work_and_a_killed_one_is_started_again(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path
) -> None:
    fleet = fleet_of(*OPTIONS)
    parent = fleet.start()
    ids = insert(books, 2, "gated")
    wait_for_handlers(tmp_path, ids)
    first = workers(books)
    holders = {row["locked_by"] for row in books.execute("select locked_by from pgsched.tasks")}
    assert len(first) == 2
    assert holders == first.keys()
    assert parent.pid not in first.values()

    victim = min(first.values())
    os.kill(victim, signal.SIGKILL)
    parent.wait_for_output("process_died")
    wait_until(lambda: len(set(workers(books).values()) - {victim}) == 2, message="two processes work again")
    open_gate(tmp_path)
    wait_for_completed(books, 2)
    ids += insert(books, 200, "brief")
    wait_for_completed(books, len(ids))
    assert_all_completed(books, ids)
    assert parent.stop() == 0, parent.output
    assert workers(books).keys() <= first.keys()  # only the killed one did not say good-bye


def test_metrics_of_two_processes_are_served_as_one(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    waiting = insert(books, 7, "brief")
    books.execute("update pgsched.tasks set next_run_at = now() + interval '1 day'")
    parent = fleet_of(*OPTIONS).start()
    scrape = Scrape(parent)
    wait_until(lambda: scrape.get("/readyz") == (200, "ok\n"), message="both processes are ready")
    assert scrape.get("/healthz") == (200, "ok\n")
    wait_until(lambda: scrape.total("pgsched_tasks"), message="the table is counted")
    assert scrape.total("pgsched_tasks") == len(waiting)  # once, and not by each process
    done = insert(books, 500, "brief")
    wait_for_completed(books, len(done))
    wait_until(lambda: scrape.total("pgsched_executions_total") == len(done), message="every execution is counted once")
    assert scrape.total("pgsched_execution_duration_seconds_count") == len(done)
    assert scrape.total("pgsched_slots") == 2
    wait_until(lambda: scrape.total("pgsched_listener_connected") == 1, message="both processes listen")


def test_a_parent_is_not_ready_before_its_processes_have_started() -> None:
    parent = _Parent([Job("", None, WorkerSettings(), "info", Builtins())] * 2)
    assert parent.unready() == "0 of 2 processes have started"


def test_stopped_process_is_told_of_by_the_probes(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    parent = fleet_of(*OPTIONS).start()
    scrape = Scrape(parent)
    wait_until(lambda: scrape.get("/readyz")[0] == 200, message="both processes are ready")
    victim = min(workers(books).values())
    os.kill(victim, signal.SIGSTOP)
    try:
        stopped = psutil.Process(victim)
        wait_until(lambda: stopped.status() == psutil.STATUS_STOPPED, message="every thread of it has stopped")
        status, text = scrape.get("/healthz")
    finally:
        os.kill(victim, signal.SIGCONT)
    assert status == 503
    assert "does not answer" in text
    wait_until(lambda: scrape.get("/healthz")[0] == 200, message="both processes are healthy")


def test_children_of_a_killed_parent_finish_what_runs_and_end(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path
) -> None:
    fleet = fleet_of(*OPTIONS)
    parent = fleet.start()
    ids = insert(books, 2, "gated")
    wait_for_handlers(tmp_path, ids)
    children = list(workers(books).values())
    os.kill(parent.pid, signal.SIGKILL)
    wait_until(lambda: parent.output.count("worker_stopping") == 2, message="the children stop")
    open_gate(tmp_path)
    wait_until(lambda: all(_has_ended(pid) for pid in children), message="the children have ended")
    assert workers(books) == {}
    assert_all_completed(books, ids)


def _has_ended(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE)  # ended, and nobody has asked how
    except psutil.NoSuchProcess:
        return True
