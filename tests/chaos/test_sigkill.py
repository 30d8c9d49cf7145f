"""Workers that are killed in the middle of their work."""

from __future__ import annotations

from collections.abc import Callable

from tests.chaos.fleet import Connection, Fleet, insert, lost, wait_for_completed, wait_until_done
from tests.chaos.invariants import assert_all_completed

TASKS = 20_000


def test_20000_tasks_survive_the_kill_of_two_of_four_workers(
    fleet_of: Callable[..., Fleet], books: Connection
) -> None:
    acknowledged = insert(books, TASKS, "brief", "brief", "brief", "brief_plain")
    fleet = fleet_of("--lease", "2")
    fleet.start(4)
    for number, done in ((0, TASKS // 4), (1, TASKS // 2)):
        wait_for_completed(books, done)
        fleet.kill(number)
        fleet.restart(number)
    wait_until_done(books)
    assert lost(books) > 0, "the kills hit no running task: the test shows nothing"
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0, 0, 0]
