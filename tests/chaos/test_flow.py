"""Workflows whose workers are killed: the order holds, every result arrives, nothing waits for ever."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pytest

from chaos.fleet import Connection, Fleet, lost_attempts, wait_for_completed
from chaos.invariants import assert_all_completed
from pgsched.client.client import Client
from pgsched.domain.task_spec import TaskSpec
from pgsched.domain.workflow import chain, group, parallel, step
from tests.support.engine import rows
from tests.support.tables import insert_task
from tests.support.waiting import wait_until

LENGTH = 100
WIDTHS = [2_000, pytest.param(10_000, marks=pytest.mark.long)]
KILLS = 10
PATIENT: dict[str, Any] = {"max_attempts": 100}
QUICK: dict[str, Any] = {"max_attempts": 100, "priority": 9}

TOO_EARLY = """
    select e.task_id, e.started_at, done.task_id as upstream, done.finished_at
    from pgsched.tasks t
    cross join unnest(t.depends_on) as upstream
    join pgsched.executions e on e.task_id = t.id
    left join pgsched.executions done on done.task_id = upstream and done.status = 'completed'
    where done.finished_at is null or e.started_at < done.finished_at"""


def relay(number: int, **options: Any) -> TaskSpec:
    return TaskSpec(task_type="relay", payload={"number": number}, **options)


def strike(fleet: Fleet, books: Connection, width: int, *, seed: int) -> None:
    """Kill so many workers while most of the ``width`` tasks run."""
    most = width * 85 // 100
    kill_at_random(fleet, books, every=most // KILLS, until=most, seed=seed)


@pytest.mark.parametrize("width", WIDTHS)
def test_tasks_that_wait_survive_random_kills(
    fleet_of: Callable[..., Fleet], books: Connection, dsn: str, tmp_path: Path, width: int
) -> None:
    with Client(dsn) as client:

        def add(number: int, *upstream: int, **options: Any) -> int:
            return client.schedule("relay", {"number": number}, depends_on=upstream, **(QUICK | options))

        top = add(1)
        bottom = add(1, add(1, top), add(1, top))
        links = [add(1)]
        while len(links) < LENGTH:
            links.append(add(1, links[-1]))
        wide = client.schedule_many(relay(number, **PATIENT) for number in range(width))
        last = add(0, *wide)
        fleet = fleet_of("--lease", "2")
        fleet.start(3)
        strike(fleet, books, width, seed=1)
        wait_until_ended(books)
        assert [client.get(link).result for link in links] == list(range(1, LENGTH + 1))
        assert (client.get(bottom).result, client.get(last).result) == (5, sum(range(width)))
    assert_in_order(books, tmp_path, [*links, *wide, top, bottom, last])
    assert fleet.stop() == [0, 0, 0]


@pytest.mark.parametrize("width", WIDTHS)
def test_groups_survive_random_kills(
    fleet_of: Callable[..., Fleet], books: Connection, dsn: str, tmp_path: Path, width: int
) -> None:
    def one(name: str, number: int, **options: Any) -> Any:
        return step("relay", {"number": number}, name=name, **options)

    links = chain(*(one(f"link {number}", 1, **QUICK) for number in range(LENGTH)))
    sides = parallel(one("left", 1, **PATIENT), one("right", 1, **PATIENT))
    wide = parallel(*(one(f"w{number}", number, **PATIENT) for number in range(width - 1)))
    with Client(dsn) as client:
        chained = client.schedule_group(links, **QUICK)
        diamond = client.schedule_group(group(one("top", 1), sides, one("bottom", 1)), **QUICK)
        fanned = client.schedule_group(group(wide, one("last", width - 1, **PATIENT)), **PATIENT)
        fleet = fleet_of("--lease", "2")
        fleet.start(3)
        strike(fleet, books, width, seed=2)
        wait_until_ended(books)
        result = client.get(chained).result
        assert [result[f"link {number}"] for number in range(LENGTH)] == list(range(1, LENGTH + 1))
        assert client.get(diamond).result == {"top": 1, "left": 2, "right": 2, "bottom": 5}
        result = client.get(fanned).result
        assert (len(result), result["last"]) == (width, sum(range(width)))
    assert_in_order(books, tmp_path, [chained, diamond, fanned])
    assert fleet.stop() == [0, 0, 0]


def test_the_books_show_a_task_that_ran_too_early(books: Connection) -> None:
    first = insert_task(books, "relay")
    second = insert_task(books, "relay", depends_on=[first])
    ran = """
        insert into pgsched.executions (
          task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
        values (%s, 'relay', 'default', 1, 1, %s, now() + %s::interval, now() + %s::interval)"""
    books.execute(ran, (second, "failed", "1 s", "2 s"))
    assert len(rows(books, TOO_EARLY)) == 1  # the first has not run at all
    books.execute(ran, (first, "completed", "0 s", "0.9 s"))
    assert rows(books, TOO_EARLY) == []
    books.execute("update pgsched.executions set finished_at = now() + interval '1.5 s' where task_id = %s", (first,))
    assert len(rows(books, TOO_EARLY)) == 1


def kill_at_random(fleet: Fleet, books: Connection, *, every: int, until: int, seed: int) -> None:
    """Let a storm strike whenever so many more tasks are completed; returns when the last new worker has started."""
    storm = Storm(fleet, books, seed=seed)
    for count in range(every, until, every):
        wait_for_completed(books, count)
        storm.strike()
    fleet.wait_until_started()


class Storm:
    """SIGKILLs workers that work, and starts others in their place."""

    def __init__(self, fleet: Fleet, books: Connection, *, seed: int) -> None:
        self._fleet = fleet
        self._books = books
        self._chance = Random(seed)

    def strike(self) -> None:
        """Kill one of them, at random."""
        number = self._chance.choice(wait_until(self._working, message="a worker works"))
        self._fleet.kill(number)
        self._fleet.restart(number)

    def _working(self) -> list[int]:
        return [number for number, worker in enumerate(self._fleet.workers) if "worker_started" in worker.output]


def wait_until_ended(books: Connection) -> None:
    """Wait until no task is left to run, and none waits for another."""

    def left() -> list[Any]:
        return rows(
            books,
            "select id, task_name, status, waiting_for, last_error from pgsched.tasks"
            " where status in ('pending', 'running', 'blocked') limit 5",
        )

    wait_until(lambda: not left(), message="no task is left to run or waits for another")


def assert_in_order(books: Connection, folder: Path, acknowledged: list[int]) -> None:
    """Everything is completed, after what it depends on, and nobody is waited for any more."""
    assert lost_attempts(books, folder) >= 5, "the kills hit no running task: the test shows nothing"
    assert_all_completed(books, acknowledged)
    assert rows(books, TOO_EARLY) == []
    assert rows(books, "select * from pgsched.dependencies") == []


@pytest.mark.long
@pytest.mark.parametrize("seed", range(5))
def test_2000_diamonds_survive_a_storm(
    fleet_of: Callable[..., Fleet], books: Connection, dsn: str, tmp_path: Path, seed: int
) -> None:
    with Client(dsn) as client:
        bottoms = []
        for _ in range(2_000):
            (top,) = client.schedule_many([relay(1, **PATIENT)])
            sides = client.schedule_many(relay(1, depends_on=[top], **PATIENT) for _ in range(2))
            bottoms += client.schedule_many([relay(1, depends_on=sides, **PATIENT)])
        fleet = fleet_of("--lease", "2")
        fleet.start(3)
        kill_at_random(fleet, books, every=500, until=7_000, seed=seed)
        wait_until_ended(books)
    found = rows(books, "select distinct result from pgsched.tasks where id = any(%s)", bottoms)
    assert [row["result"] for row in found] == [5]
    assert_in_order(books, tmp_path, bottoms)
    assert fleet.stop() == [0, 0, 0]
