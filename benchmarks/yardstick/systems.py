"""The queues that take part: their adapters, and what their tables say."""

from __future__ import annotations

import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True, kw_only=True)
class Adapter:
    """One queue."""

    name: str
    command: tuple[str, ...]
    packages: tuple[str, ...]
    table: str
    """The one that readers count."""
    unfinished: str
    """A statement that counts the tasks that wait or run."""

    @property
    def missing(self) -> str | None:
        """Why it cannot take part."""
        for package in self.packages:
            if importlib.util.find_spec(package) is None:
                return f"the package {package} is not installed"
        return None


ADAPTERS = {
    "pgsched": Adapter(
        name="pgsched",
        command=(sys.executable, str(HERE / "pgsched_bench" / "main.py")),
        packages=(),
        table="pgsched.tasks",
        unfinished="select count(*) from pgsched.tasks where queue = 'bench' and next_run_at is not null",
    ),
    "pgqueuer": Adapter(
        name="PgQueuer",
        command=(sys.executable, "-m", "benchmarks.yardstick.pgqueuer_adapter"),
        packages=("pgqueuer", "asyncpg", "uvloop"),
        table="pgqueuer",
        unfinished="select count(*) from pgqueuer",
    ),
    "procrastinate": Adapter(
        name="Procrastinate",
        command=(sys.executable, "-m", "benchmarks.yardstick.procrastinate_adapter"),
        packages=("procrastinate",),
        table="procrastinate_jobs",
        unfinished="select count(*) from procrastinate_jobs"
        " where status in ('todo', 'doing') and task_name = 'bench_job'",
    ),
}
