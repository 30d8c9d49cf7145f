"""A worker that stands still for longer than its lease and then goes on as if nothing had happened."""

from __future__ import annotations

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from chaos.fleet import (
    Connection,
    Fleet,
    Scrape,
    insert,
    open_gate,
    wait_for_completed,
    wait_for_handlers,
)
from chaos.invariants import assert_all_completed
from tests.support.waiting import wait_until

OPTIONS = ("--lease", "1", "--poll-interval", "0.2", "--metrics-port", "0")


class Zombie:
    """A stopped worker, and a task that it runs as attempt 1 and another worker as attempt 2."""

    def __init__(self, fleet: Fleet, books: Connection, folder: Path, task_type: str) -> None:
        self._books, self._folder = books, folder
        self.worker = fleet.start()
        self.scrape = Scrape(self.worker)
        ids = insert(books, 1, task_type)
        wait_for_handlers(folder, ids)
        self.worker.signal(signal.SIGSTOP)
        fleet.start()
        wait_for_handlers(folder, ids, attempt=2)

    def let_the_other_complete_it(self) -> None:
        open_gate(self._folder, attempt=2)
        wait_for_completed(self._books, 1)
        self._written = self.read()

    def read(self) -> list[Any]:
        """The task and its history, as they are now."""
        return [
            self._books.execute("select * from pgsched.tasks").fetchall(),
            self._books.execute("select * from pgsched.executions order by fencing_token").fetchall(),
        ]

    def go_on(self) -> None:
        self.worker.signal(signal.SIGCONT)

    def wait_until_fenced(self) -> None:
        """Wait until it knows that its result was not wanted, and has nothing left to do."""
        wait_until(lambda: self.scrape.total("pgsched_fenced_total"), message="the result is fenced")
        wait_until(lambda: not self.scrape.total("pgsched_running"), message="nothing runs")

    def assert_changed_nothing(self) -> None:
        """It counted its one fenced attempt once, stopped in order, and wrote nothing."""
        assert self.scrape.total("pgsched_fenced_total") == 1
        assert self.worker.stop() == 0
        assert self.read() == self._written
        (task,), (first, second) = self._written
        assert (task["status"], task["result"], task["attempts"]) == ("completed", "attempt 2", 2)
        assert [first["status"], second["status"]] == ["lost", "completed"]
        assert_all_completed(self._books)


@pytest.fixture
def zombie_with(fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path) -> Callable[[str], Zombie]:
    return lambda task_type: Zombie(fleet_of(*OPTIONS), books, tmp_path, task_type)


@pytest.mark.parametrize("task_type", ["gated", "gated_plain"])
def test_handler_that_ends_after_the_loss_was_noticed_changes_nothing_and_is_fenced_once(
    zombie_with: Callable[[str], Zombie], tmp_path: Path, task_type: str
) -> None:
    zombie = zombie_with(task_type)
    zombie.let_the_other_complete_it()
    zombie.go_on()
    wait_until(lambda: zombie.scrape.total("pgsched_leases_lost_total"), message="the loss is noticed")
    open_gate(tmp_path, attempt=1)
    zombie.wait_until_fenced()
    zombie.assert_changed_nothing()


def test_handler_that_ends_before_the_loss_is_noticed_changes_nothing_and_is_fenced_once(
    zombie_with: Callable[[str], Zombie], tmp_path: Path
) -> None:
    zombie = zombie_with("gated_blocking")  # the loop cannot be told of the loss before this handler ends
    zombie.let_the_other_complete_it()
    open_gate(tmp_path, attempt=1)
    zombie.go_on()
    zombie.wait_until_fenced()
    assert "finish_fenced" in zombie.worker.output
    zombie.assert_changed_nothing()


def test_handler_that_ends_at_the_moment_of_waking_changes_nothing_and_is_fenced_once(
    zombie_with: Callable[[str], Zombie], tmp_path: Path
) -> None:
    zombie = zombie_with("gated_plain")
    zombie.let_the_other_complete_it()
    open_gate(tmp_path, attempt=1)
    zombie.go_on()
    zombie.wait_until_fenced()
    zombie.assert_changed_nothing()


@pytest.mark.parametrize("task_type", ["gated_plain", "gated_blocking"])
def test_handler_that_ends_while_the_other_still_runs_changes_nothing_and_is_fenced_once(
    zombie_with: Callable[[str], Zombie], books: Connection, tmp_path: Path, task_type: str
) -> None:
    zombie = zombie_with(task_type)
    held = "select status, locked_by, attempts, fencing_token, result, last_error from pgsched.tasks"
    before = books.execute(held).fetchall()
    open_gate(tmp_path, attempt=1)
    zombie.go_on()
    zombie.wait_until_fenced()
    assert books.execute(held).fetchall() == before
    zombie.let_the_other_complete_it()
    zombie.assert_changed_nothing()


def test_worker_that_was_stopped_past_its_lease_with_nobody_else_there_completes_its_tasks_once(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path
) -> None:
    fleet = fleet_of(*OPTIONS)
    worker = fleet.start()
    ids = insert(books, 10, "gated", "gated_plain")
    wait_for_handlers(tmp_path, ids)
    worker.signal(signal.SIGSTOP)
    expired = "select every(locked_until < now()) as expired from pgsched.tasks"
    wait_until(lambda: books.execute(expired).fetchall()[0]["expired"], message="the leases have run out")
    worker.signal(signal.SIGCONT)
    open_gate(tmp_path)
    wait_for_completed(books, len(ids))
    assert fleet.stop() == [0]
    assert_all_completed(books, ids)
