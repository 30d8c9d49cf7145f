"""What each hour of the soak was like, and whether the last ones are as the second."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import median

from chaos.shapes.processes import Connection

SIZES = """
    select pg_table_size('pgsched.tasks')::float8 as tasks, pg_indexes_size('pgsched.tasks')::float8 as tasks_indexes,
      (select sum(pg_table_size(i.inhrelid))::float8 from pg_inherits i
       where i.inhparent = 'pgsched.executions'::regclass) as executions,
      (select sum(pg_indexes_size(i.inhrelid))::float8 from pg_inherits i
       where i.inhparent = 'pgsched.executions'::regclass) as executions_indexes,
      (select n_dead_tup::float8 from pg_stat_user_tables where relid = 'pgsched.tasks'::regclass) as dead,
      (select count(*)::float8 from pgsched.executions) as runs
"""
MOST_MEMORY, MOST_SIZE, MOST_LATENCY = 1.10, 1.50, 1.50
"""Of the median of the last two hours to the second hour: the first is that of caches which fill."""
LEEWAY_MB, LEEWAY_MS, LEEWAY_BYTES = 8.0, 20.0, 200.0
MB = 1024**2


@dataclass(frozen=True, kw_only=True)
class Hour:
    """An hour of the soak, which took ``seconds``."""

    number: int
    tasks: int
    """That were run, with schedules, steps and children."""
    seconds: float
    p50: float
    """Milliseconds of pick-up of ordinary tasks."""
    p99: float
    worker_mb: float
    web_mb: float
    server_mb: float
    """The private memory of the server's largest process; the most in the hour, as the two before."""
    connections: int
    tasks_mb: float
    tasks_indexes_mb: float
    executions_mb: float
    """It grows with each task until a day of the history is dropped."""
    executions_indexes_mb: float
    dead_tuples: int
    pages: int = 0
    """Pages of the dashboard that were read."""
    events: int = 0

    @property
    def rate(self) -> float:
        """Tasks a second."""
        return self.tasks / self.seconds if self.seconds else 0.0


def sizes(connection: Connection) -> dict[str, float]:
    """The sizes of the tables now, in bytes, and how many attempts the history has."""
    row = connection.execute(SIZES).fetchone()
    assert row is not None
    return {name: float(value or 0) for name, value in row.items()}


def verdict(hours: Sequence[Hour]) -> Iterable[str]:
    """Yield what is not flat: the last two hours against the second."""
    if len(hours) < 4:
        yield f"{len(hours)} hours say nothing: the last two are compared with the second"
        return
    for name, what in (("worker_mb", "the worker"), ("web_mb", "the web server"), ("server_mb", "a server process")):
        yield from _grown(hours, name, MOST_MEMORY, LEEWAY_MB, f"the memory of {what}", "MB")
    for name, what in (("tasks_mb", "pgsched.tasks"), ("tasks_indexes_mb", "the indexes of pgsched.tasks")):
        yield from _grown(hours, name, MOST_SIZE, LEEWAY_MB, what, "MB")
    for name, what in (("p50", "the median pick-up"),):
        yield from _grown(hours, name, MOST_LATENCY, LEEWAY_MS, what, "ms")
    yield from _grown(hours, "connections", 1.0, 3, "the number of connections", "")
    early, late = _history(hours[:2]), _history(hours[-2:])
    if late > early * MOST_SIZE + LEEWAY_BYTES:
        yield f"a task adds {late:.0f} bytes to the history, and {early:.0f} at first"


def _grown(hours: Sequence[Hour], name: str, most: float, leeway: float, what: str, unit: str) -> Iterable[str]:
    second, last = getattr(hours[1], name), median(getattr(hour, name) for hour in hours[-2:])
    if last > second * most + leeway:
        yield f"{what} grows: {second:.0f} {unit} in hour 2, {last:.0f} {unit} in the last two".replace(" ,", ",")


def _history(hours: Sequence[Hour]) -> float:
    """Bytes of history for each task of the second of two hours."""
    before, after = hours
    grown = after.executions_mb + after.executions_indexes_mb - before.executions_mb - before.executions_indexes_mb
    return grown * MB / max(after.tasks, 1)


def for_docs(hours: Sequence[Hour]) -> str:
    """Markdown."""
    header = (
        *("hour", "tasks", "rate", "pick-up p50 / p99", "worker", "web", "server process", "connections"),
        *("tasks, indexes", "history, indexes", "dead rows", "pages", "events"),
    )
    lines = [f"| {' | '.join(header)} |", "|" + "---|" * len(header)]
    for hour in hours:
        cells = (
            *(str(hour.number), f"{hour.tasks:,}", f"{hour.rate:,.0f}/s", f"{hour.p50:.0f} / {hour.p99:.0f} ms"),
            *(f"{hour.worker_mb:.0f} MB", f"{hour.web_mb:.0f} MB", f"{hour.server_mb:.0f} MB", str(hour.connections)),
            *(f"{hour.tasks_mb:.0f}, {hour.tasks_indexes_mb:.0f} MB",),
            *(f"{hour.executions_mb:.0f}, {hour.executions_indexes_mb:.0f} MB", f"{hour.dead_tuples:,}"),
            *(f"{hour.pages:,}", f"{hour.events:,}"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)
