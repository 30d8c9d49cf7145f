"""Workers that are killed in the middle of their work."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from chaos.fleet import Connection, Fleet, holds_tasks, insert, wait_for_completed, wait_until_done
from chaos.invariants import assert_all_completed
from tests.support.waiting import wait_until

KINDS = ("brief", "brief", "brief", "brief_plain")


def test_8000_tasks_survive_the_kill_of_two_of_four_workers(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    acknowledged = insert(books, 8_000, *KINDS)
    fleet = fleet_of("--lease", "2")
    fleet.start(4)
    hits = kill_and_restart(fleet, books, {2_000: 0, 4_000: 1})
    wait_until_done(books)
    assert hits, "no kill hit a running task: the test shows nothing"
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0, 0, 0]


@pytest.mark.long
def test_300000_tasks_survive_forty_kills(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    acknowledged = insert(books, 300_000, *KINDS)
    books.execute("update pgsched.tasks set max_attempts = 100")
    fleet = fleet_of("--lease", "2")
    fleet.start(4)
    hits = kill_and_restart(fleet, books, {7_000 * kill: kill % 4 for kill in range(1, 41)})
    wait_until_done(books)
    assert hits >= 30
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0, 0, 0]


def kill_and_restart(fleet: Fleet, books: Connection, kills: dict[int, int]) -> int:
    """Kill a worker when so many tasks are completed, and start another in its place; returns how many held tasks.

    What they had begun a moment ago is claimed again without a trace in the history, as what they had not begun.
    """
    hits = 0
    for done, number in kills.items():
        wait_for_completed(books, done, timeout=120)
        pid = fleet.workers[number].pid
        wait_until(lambda: holds_tasks(books, pid), timeout=30, message=f"worker {number} holds tasks")  # noqa: B023
        fleet.kill(number)
        hits += holds_tasks(books, pid)
        fleet.restart(number)
    return hits
