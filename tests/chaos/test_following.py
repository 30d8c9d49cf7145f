"""Each tick of a schedule is followed exactly once, whatever dies meanwhile."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

import pytest

from chaos.fleet import Connection, Fleet
from tests.support.waiting import wait_until

TICKS = 40


@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.long)])
def test_each_tick_has_one_run_of_each_follower_beside_random_kills(
    fleet_of: Callable[..., Fleet], books: Connection, seed: int
) -> None:
    for overlap in ("skip", "allow"):
        books.execute(
            "insert into pgsched.tasks (task_type, task_name, payload, repeat_interval, repeat_count, start_date,"
            " on_missed, overlap, max_attempts)"
            " values ('pause', %s, '{\"seconds\": 0.02}', '50 milliseconds', %s, now(), 'all', %s, 100)",
            (overlap, TICKS, overlap),
        )
    for name, upstream in (
        ("first", "skip"),
        ("last", "first"),
        ("first of allow", "allow"),
        ("last of allow", "first of allow"),
    ):
        books.execute(
            "insert into pgsched.tasks (task_type, task_name, payload, depends_on, dependency_mode, max_attempts)"
            " select 'pause', %s, '{\"seconds\": 0.01}', array[t.id], 'each', 100"
            " from pgsched.tasks t where t.task_name = %s",
            (name, upstream),
        )
    random = Random(seed)
    fleet = fleet_of("--lease", "1")
    fleet.start(2)
    for done in sorted(random.sample(range(1, TICKS), 6)):
        wait_until(lambda done=done: runs(books, "last") >= done, message=f"{done} ticks are followed")  # type: ignore[misc]
        victim = random.randrange(2)
        fleet.kill(victim)
        fleet.restart(victim)
    wait_until(
        lambda: runs(books, "last") >= TICKS and runs(books, "last of allow") >= TICKS,
        timeout=120,
        message="every tick is followed",
    )
    for name in ("first", "last", "first of allow", "last of allow"):
        made = books.execute(RUNS, (name,)).fetchall()
        assert len(made) == len({row["scheduled_for"] for row in made}) == TICKS, name
        assert {row["status"] for row in made} == {"completed"}
    # The times of the runs are those of the ticks, and none was completed before its tick.
    assert ticks(books, "skip") == ticks(books, "first") == ticks(books, "last")
    assert books.execute(EARLY).fetchall() == []
    fleet.wait_until_started()
    assert fleet.stop() == [0, 0]


RUNS = """
select c.scheduled_for, c.status from pgsched.tasks c join pgsched.tasks f on f.id = c.parent_id where f.task_name = %s
"""
EARLY = """
select from pgsched.tasks c
join pgsched.tasks u on u.id = c.depends_on[1] and u.schedule_type = 'one_time'
where c.parent_id is not null and (u.completed_at is null or u.completed_at > c.started_at)
"""


def runs(books: Connection, name: str) -> int:
    """How many runs of a follower are completed."""
    return sum(row["status"] == "completed" for row in books.execute(RUNS, (name,)))


def ticks(books: Connection, name: str) -> set[object]:
    """The times of the completed ticks of a schedule, or of the runs of a follower."""
    own = books.execute(
        "select e.scheduled_for from pgsched.executions e join pgsched.tasks t on t.id = e.task_id"
        " left join pgsched.tasks p on p.id = t.parent_id"
        " where e.status = 'completed' and %s in (t.task_name, p.task_name)",
        (name,),
    )
    return {row["scheduled_for"] for row in own}
