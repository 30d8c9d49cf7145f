"""Connections that the server ends in the middle of everything."""

from __future__ import annotations

from collections.abc import Callable

from chaos.fleet import Connection, Fleet, insert, wait_for_completed, wait_until_done
from chaos.invariants import assert_all_completed

TERMINATE = """
select application_name, pg_terminate_backend(pid) from pg_stat_activity
where datname = current_database() and pid <> pg_backend_pid() and application_name like 'pgsched %'
"""


def test_2000_tasks_survive_ten_ends_of_every_connection(fleet_of: Callable[..., Fleet], books: Connection) -> None:
    fleet = fleet_of("--concurrency", "4", "--lease", "2", "--poll-interval", "1")
    fleet.start(2)
    fleet.wait_until_started()
    acknowledged = insert(books, 2_000, "brief", "brief_plain")
    ended = set()
    for done in range(100, 2_000, 190):
        wait_for_completed(books, done)
        ended |= {row["application_name"] for row in books.execute(TERMINATE)}
    wait_until_done(books)
    assert {"pgsched claim", "pgsched finish", "pgsched heartbeat", "pgsched listener"} <= ended
    assert_all_completed(books, acknowledged)
    assert fleet.stop() == [0, 0]
    assert all("Traceback" not in worker.output for worker in fleet.workers)
