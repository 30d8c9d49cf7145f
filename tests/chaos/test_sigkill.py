"""Workers that are killed in the middle of their work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.fleet import Connection, Fleet, insert, lost_attempts, wait_for_completed, wait_until_done
from chaos.invariants import assert_all_completed

KINDS = ("brief", "brief", "brief", "brief_plain")


def test_8000_tasks_survive_the_kill_of_two_of_four_workers(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path
) -> None:
    acknowledged = insert(books, 8_000, *KINDS)
    fleet = fleet_of("--lease", "2")
    fleet.start(4)
    kill_and_restart(fleet, books, {2_000: 0, 4_000: 1})
    wait_until_done(books)
    assert lost_attempts(books, tmp_path), "no kill hit a running task: the test shows nothing"
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0, 0, 0]


@pytest.mark.long
def test_300000_tasks_survive_forty_kills(fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path) -> None:
    acknowledged = insert(books, 300_000, *KINDS)
    books.execute("update pgsched.tasks set max_attempts = 100")
    fleet = fleet_of("--lease", "2")
    fleet.start(4)
    kill_and_restart(fleet, books, {7_000 * kill: kill % 4 for kill in range(1, 41)})
    wait_until_done(books)
    assert lost_attempts(books, tmp_path) >= 30
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0, 0, 0]


def kill_and_restart(fleet: Fleet, books: Connection, kills: dict[int, int]) -> None:
    """Kill a worker when so many tasks are completed, and start another in its place."""
    for done, number in kills.items():
        wait_for_completed(books, done, timeout=120)
        fleet.workers[number].wait_for_output("worker_started")
        fleet.kill(number)
        fleet.restart(number)
