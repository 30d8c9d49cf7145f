"""A schedule of so many ticks runs them all, each once, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from chaos.fleet import Connection, Fleet, wait_until_done
from tests.support.waiting import wait_until

TICKS = 50


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_50_ticks_run_once_each_beside_random_kills(
    fleet_of: Callable[..., Fleet], books: Connection, seed: int
) -> None:
    books.execute(
        "insert into pgsched.tasks"
        " (task_type, payload, repeat_interval, repeat_count, start_date, on_missed, max_attempts)"
        " values ('pause', '{\"seconds\": 0.04}', '50 milliseconds', %s, now(), 'all', 100)",
        (TICKS,),
    )
    random = Random(seed)
    fleet = fleet_of("--lease", "1")
    fleet.start(2)
    for done in sorted(random.sample(range(1, TICKS), 6)):
        wait_until(lambda done=done: finished(books) >= done, message=f"{done} ticks are over")  # type: ignore[misc]
        victim = random.randrange(2)
        fleet.kill(victim)
        fleet.restart(victim)
    wait_until_done(books)
    ticks = [row["scheduled_for"] for row in books.execute(COMPLETED)]
    assert len(ticks) == len(set(ticks)) == TICKS
    assert finished(books) == TICKS
    fleet.wait_until_started()
    assert fleet.stop() == [0, 0]


COMPLETED = "select scheduled_for from pgsched.executions where status = 'completed'"


def finished(books: Connection) -> int:
    """How many ticks the row counts."""
    row = books.execute("select execution_count from pgsched.tasks where repeat_count is not null").fetchone()
    assert row is not None
    return int(row["execution_count"])
