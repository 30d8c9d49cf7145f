"""The queues that are tried beside pgsched: their recovery is on, and what is counted is what happened."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.faults.model import Row, Shape
from chaos.peers import run as peers
from chaos.peers.contender import QUIET_SECONDS, Contender, Tally, count
from chaos.peers.contenders import CONTENDERS
from chaos.peers.effects import completed_runs
from chaos.peers.faults import FAULTS
from tests.support.processes import PgschedProcess
from tests.support.tables import database
from tests.support.waiting import wait_until

TASKS = 30


@pytest.mark.parametrize("name", list(CONTENDERS))
def test_tasks_of_a_killed_worker_are_completed_by_another(name: str, empty_dsn: str, tmp_path: Path) -> None:
    contender = CONTENDERS[name]()
    if (cause := contender.missing()) is not None:
        pytest.skip(cause)
    contender.prepare(empty_dsn)
    contender.folder = tmp_path
    with database(empty_dsn) as books:
        inserter = contender.inserter(empty_dsn)
        ids = [*inserter.insert(TASKS - 1), *inserter.insert(1)]
        inserter.close()
        assert len(set(ids)) == TASKS
        assert contender.unfinished(books) == TASKS
        with _worker(contender, tmp_path, "first", empty_dsn):
            wait_until(lambda: completed_runs(tmp_path), message="a handler ran to its end")
        assert contender.unfinished(books), "everything was done before the worker was killed: this shows nothing"
        with _worker(contender, tmp_path, "second", empty_dsn):
            wait_until(lambda: len(completed_runs(tmp_path)) == TASKS, message="every handler has run")
            wait_until(lambda: not contender.unfinished(books), message="nothing is left to do")
        assert sum(contender.completions(books, 0).values()) == TASKS
        verdict = contender.verdict(books, dict.fromkeys(ids, "completed"))
        assert (verdict.lost, verdict.duplicated) == (0, 0)
        gone = contender.verdict(books, dict.fromkeys([*ids, max(ids) + 1_000_000], "completed"))
        assert gone.lost == 1


def _worker(contender: Contender, folder: Path, name: str, dsn: str) -> PgschedProcess:
    """Killed at the end of the block."""
    command = contender.worker(Shape(), peers.SIZE)
    worker = PgschedProcess(command.arguments, module=command.module, folder=folder, name=name, dsn=dsn)
    worker.wait_for_output(contender.ready)
    return worker


@pytest.mark.parametrize(
    ("runs", "completed", "tally"),
    [
        ({1: 1, 2: 1}, {1: 1, 2: 1}, (0, 0, 0, 0)),
        ({1: 1}, {1: 1}, (1, 0, 0, 0)),
        ({1: 1}, {1: 1, 2: 1}, (1, 0, 0, 0)),
        ({1: 1, 2: 1}, {1: 1}, (0, 1, 0, 0)),
        ({1: 2, 2: 1}, {1: 1, 2: 1}, (0, 0, 1, 0)),
        ({1: 2, 2: 1}, {1: 2, 2: 1}, (0, 0, 1, 1)),
        ({1: 1, 2: 1, 3: 2}, {1: 1, 2: 1, 3: 1}, (0, 0, 1, 0)),
    ],
    ids=[
        "all well",
        "lost",
        "completed without a run",
        "left open",
        "ran twice",
        "completed twice",
        "not acknowledged",
    ],
)
def test_the_tally_counts(runs: dict[int, int], completed: dict[int, int], tally: tuple[int, int, int, int]) -> None:
    counted = count({1: "completed", 2: "completed"}, runs, completed)
    assert (counted.lost, counted.left_open, counted.ran_twice, counted.completed_twice) == tally


def test_what_does_not_change_is_not_waited_for(empty_dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr("chaos.peers.contender.time.monotonic", lambda: now)
    contender = CONTENDERS["pgsched"]()
    contender.prepare(empty_dsn)
    inserter = contender.inserter(empty_dsn)
    with database(empty_dsn) as books:
        inserter.insert(2)
        assert contender.unfinished(books) == 2
        now += QUIET_SECONDS - 1
        inserter.insert(1)
        assert contender.unfinished(books) == 3
        now += QUIET_SECONDS - 1
        assert contender.unfinished(books) == 3
        now += 2
        assert contender.unfinished(books) == 0
    inserter.close()


def test_the_table_names_every_queue_its_settings_and_what_was_not_measured(tmp_path: Path) -> None:
    well = Tally(lost=0, left_open=0, ran_twice=2, completed_twice=0)
    row = Row(system="pgsched", fault="worker-sigkill", seed=7, tasks=1000, injected=10, recovery_seconds=1.5)
    absent = Row(system="Procrastinate", fault="terminations", seed=7, left_out="the package is not installed")
    results = [peers.Result(row=row, tally=well), peers.Result(row=absent, tally=None)]
    machine = {"cpu": "a cpu", "postgresql": "18", "python": "3.11"}
    run = peers.Run(seed=7, measured="today", machine=machine, results=results)
    peers.write(tmp_path / "run.json", run)
    assert peers.read(tmp_path / "run.json") == run
    text = peers.for_docs(run)
    assert "| pgsched | `worker-sigkill` | 1,000 | 10 kills | 0 | 0 | 2 | 0 | 1.5 s |" in text
    assert "| Procrastinate | `terminations` | the package is not installed |" in text
    assert all(contender.settings in text for contender in CONTENDERS.values())
    assert all(fault.does in text for fault in FAULTS.values())
