"""``python -m benchmarks.limits``: limits of queues across several worker processes, as observed by their handlers.

Runs real worker processes on an embedded server: how many run at once and how well the slots are used, how many start
in a time, and how long tasks of other keys wait beside a key with a long backlog.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from benchmarks.databases import SETTINGS
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from tests.support import limited
from tests.support.processes import PgschedRunner
from tests.support.tables import database

LONGEST = 600.0


def main() -> int:
    """Run all parts and print the results."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.limits", description=__doc__)
    parser.add_argument("--workers", type=int, default=4, help="worker processes (default: 4)")
    parser.add_argument("--tasks", type=int, default=2000, help="through 3 slots (default: 2,000)")
    parser.add_argument("--work", type=float, default=0.05, help="seconds that each of them takes (default: 0.05)")
    parser.add_argument("--seconds", type=float, default=20, help="at 100 starts a second (default: 20)")
    parser.add_argument("--backlog", type=int, default=100_000, help="of one key (default: 100,000)")
    parser.add_argument("--only", choices=["concurrency", "rate", "keys"], help="only one of them")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="pgsched-bench-", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        with EmbeddedServer.start(folder / "server", options=SETTINGS) as server:
            migrate(server.dsn)
            run = PgschedRunner(folder=folder, dsn=server.dsn)
            try:
                with database(server.dsn) as db:
                    limited.make_marks(db)
                    limited.start_workers(run, options.workers)
                    if options.only in (None, "concurrency"):
                        concurrency(db, options.tasks, options.work)
                        limited.clear(db)
                    if options.only in (None, "rate"):
                        rate(db, options.seconds)
                        limited.clear(db)
                    if options.only in (None, "keys"):
                        keys(db, options.backlog)
            finally:
                run.kill_all()
    return 0


def concurrency(db: limited.Connection, tasks: int, work: float) -> None:
    """Three slots."""
    seen = limited.run_at_once(db, tasks=tasks, limit=3, seconds=work, longest=LONGEST)
    print(f"{seen.tasks} tasks of {work * 1000:g} ms, 3 at once:")
    print(
        f"  at most {seen.peak} ran at once; {seen.seconds:.1f} s; handlers ran in {seen.used:.1%} of the slots' time"
    )


def rate(db: limited.Connection, seconds: float) -> None:
    """A hundred a second."""
    seen = limited.run_at_rate(db, rate=100, seconds=seconds, longest=LONGEST)
    print(f"{seen.starts} tasks, 100 starts a second:")
    print(f"  {seen.in_time} started within {seconds:g} s of the first, the last after {seen.seconds:.2f} s;")
    print(f"  the worst window of 1 s holds {seen.worst} starts")


def keys(db: limited.Connection, backlog: int) -> None:
    """One key has a large backlog, the others few tasks."""
    seen = limited.run_beside_backlog(db, backlog=backlog, others=100)
    print(f"{len(seen.values)} tasks of other keys beside {backlog} of one key, 2 at once per key; started after (ms):")
    print(f"  median {seen.median:.1f}, 90th percentile {seen.values[89]:.1f}, at most {seen.values[-1]:.1f}")


if __name__ == "__main__":
    sys.exit(main())
