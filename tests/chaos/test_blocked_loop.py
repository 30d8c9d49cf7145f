"""A handler that lets the event loop stand still for three lease times."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from chaos.fleet import Connection, Fleet, insert, wait_for_handlers, wait_until_done
from chaos.invariants import assert_all_completed

LEASE = 1.0


@pytest.mark.parametrize("task_type", ["sleep_on_loop", "spin_on_loop"])
def test_blocked_event_loop_does_not_lose_its_lease(
    fleet_of: Callable[..., Fleet], books: Connection, tmp_path: Path, task_type: str
) -> None:
    fleet = fleet_of("--lease", str(LEASE), "--poll-interval", "0.1")
    fleet.start(2)
    fleet.wait_until_started()
    ids = insert(books, 1, task_type, seconds=3 * LEASE)
    wait_for_handlers(tmp_path, ids)
    wait_until_done(books)
    (execution,) = books.execute("select * from pgsched.executions").fetchall()
    assert (execution["status"], execution["attempt"], execution["fencing_token"]) == ("completed", 1, 1)
    assert execution["duration_ms"] >= 3 * LEASE * 1000
    assert fleet.stop() == [0, 0]
    assert_all_completed(books, ids)
