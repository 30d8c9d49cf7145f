"""Many workers, busy ones with two slots and idle ones."""

from __future__ import annotations

import time
from collections.abc import Iterable

from chaos.shapes.model import OddShape
from chaos.shapes.processes import cpu_seconds, look
from chaos.shapes.stage import MB, Stage
from pgsched.db.notifications import PROBE_SECONDS
from tests.support.processes import PgschedProcess
from tests.support.tables import database

EACH = 50
"""Idle workers in one process."""
QUIET_SECONDS = 10.0
WARM_UP_SECONDS = 20.0
"""Workers that have just started poll more often."""
SETTLE_SECONDS = PROBE_SECONDS + 5.0
"""A session that is woken by notifications reports its transactions with its next statement, the listener's probe."""
ENOUGH = 50
"""Of fewer workers the share is lost in what the others do: it is told after a second, and checked by no rule."""
STATEMENTS = (
    "select sum(xact_commit + xact_rollback)::float8 as n from pg_stat_database where datname = current_database()"
)


class ManyWorkers(OddShape):
    """Processes that compete for rows."""

    name = "workers-with-two-slots"
    does = "Worker processes with two slots each share 200 tasks for each of them, of 50 ms."
    size = 30
    things = "workers"
    least = 2

    def set_up(self, stage: Stage, size: int) -> None:
        self.worker_options = (
            *("--queue", "ordinary", "--queue", "shape", "--concurrency", "2", "--transactions", "1"),
            *("--processes", str(size)),
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.wait_for(f"select count(*) >= {size} from pgsched.workers")
        stage.execute(
            f"insert into pgsched.tasks (task_type, queue) select 'nap', 'shape' from generate_series(1, {200 * size})"
        )
        stage.wait_for("select not exists (select from pgsched.tasks where queue = 'shape' and status <> 'completed')")

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        shares = stage.execute(
            "select count(*) as n from pgsched.executions where queue = 'shape' group by worker_id order by 1"
        )
        span = stage.execute(
            "select extract(epoch from max(finished_at) - min(started_at))::float8 as seconds"
            " from pgsched.executions where queue = 'shape'"
        )[0]["seconds"]
        counts = [row["n"] for row in shares]
        self.told.append(
            f"{200 * size:,} tasks took {span:.1f} s (5 s at least); the workers ran {counts[0]} to {counts[-1]} each;"
            f" {stage.connections_peak} connections at most."
        )
        if len(counts) < size:
            yield f"{size - len(counts)} workers ran nothing"


class IdleWorkers(OddShape):
    """Those that have nothing to do."""

    name = "idle-workers"
    does = (
        f"Workers that serve an empty queue, {EACH} to a process, each with its own loops, threads and connections:"
        " what they cost the server while nothing is notified."
    )
    size = 300
    things = "idle workers"
    least = 2

    def run(self, stage: Stage, size: int) -> None:
        self.brief = size < ENOUGH
        processes: list[PgschedProcess] = []
        try:
            with database(stage.dsn) as connection:
                with stage.ordinary.paused():
                    self._wait(SETTLE_SECONDS)
                    alone, without = look(connection), self._per_second(stage)
                processes += [
                    PgschedProcess(
                        [str(min(EACH, size - first))],
                        module="chaos.shapes.idle",
                        folder=stage.folder,
                        name=f"idle-{first}",
                        dsn=stage.dsn,
                    )
                    for first in range(0, size, EACH)
                ]
                for process in processes:
                    process.wait_for_output("all idle", timeout=300)
                self._wait(WARM_UP_SECONDS)
                with stage.ordinary.paused():
                    self._wait(SETTLE_SECONDS)
                    used, begun = sum(cpu_seconds(process.pid) for process in processes), time.monotonic()
                    commits = self._per_second(stage) - without
                    used = (sum(cpu_seconds(one.pid) for one in processes) - used) / (time.monotonic() - begun)
                    server = look(connection)
        finally:
            for process in processes:
                process.kill()
        more = server.connections - alone.connections
        grown = (server.total - alone.total) / MB
        self.told.append(
            f"{more} connections, {more / size:.1f} a worker; {commits:.1f} transactions a second, {commits / size:.2f}"
            f" a worker; {grown:.0f} MB of private memory in the server, {grown / max(more, 1):.1f} a connection;"
            f" {used * 100 / size:.2f} % of a core for each worker."
        )
        self.per_second, self.per_worker = commits / size, more / size

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        if size >= ENOUGH and self.per_second > 2:
            yield f"an idle worker makes {self.per_second:.1f} transactions a second"
        if self.per_worker > 9:
            yield f"an idle worker has {self.per_worker:.1f} connections"

    def _wait(self, seconds: float) -> None:
        time.sleep(1.0 if self.brief else seconds)

    def _per_second(self, stage: Stage) -> float:
        """Transactions a second of all sessions."""
        before, begun = stage.execute(STATEMENTS)[0]["n"], time.monotonic()
        self._wait(QUIET_SECONDS)
        return float((stage.execute(STATEMENTS)[0]["n"] - before) / (time.monotonic() - begun))
