"""Gauges of the whole table, from a cache: a scrape never counts rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from time import monotonic

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgsched.db.session import Session
from pgsched.db.worker import housekeeping
from pgsched.db.worker.housekeeping import Health, TaskCount, Troubled, Watched
from pgsched.observability.label_sets import LINGER_SECONDS, MOST_SERIES, OTHER
from pgsched.ops.doctor.catalogue import CHECKS
from pgsched.worker.metrics import plain_gauges

FRESH_SECONDS = 15.0
"""The cache is refreshed at most this often, and only while somebody scrapes."""
MAX_SHARE = 0.05
"""The share of time that counting may take: a table that is slow to count is counted less often."""
WANTED_SECONDS = 120.0
"""How long after a scrape the cache is kept fresh."""
STALE_SECONDS = 300.0
"""A cache that should have been refreshed this long ago is not shown: the database is away, or nobody scraped."""

TROUBLED = {
    "unhandled": ("pgsched_unhandled_due", "Due rows whose task_type no living worker knows."),
    "silent": ("pgsched_silent_tasks", "Tasks without a success for their alert_if_no_success_for."),
    "running": ("pgsched_long_runs", "Tasks an attempt of which has run for their alert_if_running_for."),
    "died": ("pgsched_died_last_hour", "Tasks that died within the last hour and are still dead."),
}
"""The metric for each kind of task that needs attention."""


class CachedGauges(Collector):
    """Counts of the table as of the last refresh of the cache."""

    def __init__(self, *, session: Session) -> None:
        self._session = session
        self._counts: list[TaskCount] = []
        self._seen: dict[tuple[str, str], float] = {}
        """When a queue last had rows in a status."""
        self._shown: frozenset[str] = frozenset()
        """The queues that have series of their own."""
        self._troubled: list[Troubled] = []
        self._health: Health | None = None
        self._watched: Watched | None = None
        self._scraped_at = monotonic() - WANTED_SECONDS + FRESH_SECONDS  # the first scrape should find something
        self._renew_after = 0.0

    async def run_once(self) -> bool:
        """Refresh the cache if it is old and wanted; returns whether it was. Raises DatabaseUnavailable."""
        return monotonic() - self._scraped_at <= WANTED_SECONDS and await self.renew()

    async def renew(self) -> bool:
        """Refresh the cache if it is old; returns whether it was. Raises DatabaseUnavailable."""
        begun = monotonic()
        if begun < self._renew_after:
            return False
        counts = await housekeeping.count_tasks(self._session)
        troubled = await housekeeping.count_troubled(self._session)
        health = await housekeeping.check_health(self._session)
        watched = await housekeeping.read_findings(self._session)
        ended = monotonic()
        counts = self.bounded(counts + self._emptied(counts, ended))
        # At once: a scrape in between must not show half of it.
        self._counts, self._troubled, self._health, self._watched = counts, troubled, health, watched
        self._renew_after = ended + max(FRESH_SECONDS, (ended - begun) / MAX_SHARE)
        return True

    def _emptied(self, counts: list[TaskCount], now: float) -> list[TaskCount]:
        """Record the current counts; returns counts of 0 for what has disappeared."""
        there = {(count.queue, count.status) for count in counts}
        self._seen |= dict.fromkeys(there, now)
        self._seen = {names: at for names, at in self._seen.items() if now - at < LINGER_SECONDS}
        return [TaskCount(*names, rows=0, due=0, oldest_due=None) for names in self._seen.keys() - there]

    def bounded(self, counts: list[TaskCount]) -> list[TaskCount]:
        """Merge the queues without series of their own: those with rows come first, then those shown before."""
        rows: Counter[str] = Counter()
        for count in counts:
            if count.queue != OTHER:
                rows[count.queue] += count.rows
        ranked = sorted(rows, key=lambda queue: (not rows[queue], queue not in self._shown, -rows[queue], queue))
        self._shown = frozenset(ranked[:MOST_SERIES])
        bounded = [count for count in counts if count.queue in self._shown]
        rest: dict[str, list[TaskCount]] = {}
        for count in counts:
            if count.queue not in self._shown:
                rest.setdefault(count.status, []).append(count)
        for status, some in rest.items():
            oldest = max((one.oldest_due for one in some if one.oldest_due is not None), default=None)
            bounded.append(
                TaskCount(OTHER, status, sum(one.rows for one in some), sum(one.due for one in some), oldest)
            )
        return bounded

    def collect(self) -> Iterable[Metric]:
        """Return the families that ``/metrics`` shows."""
        self._scraped_at = monotonic()
        health, watched = self._health, self._watched
        if health is None or watched is None or self._scraped_at > self._renew_after + STALE_SECONDS:
            return
        tasks = GaugeMetricFamily("pgsched_tasks", "Rows that wait, run or are dead.", labels=["queue", "status"])
        waits: dict[str, float] = {}
        waiting: Counter[str] = Counter()
        for queue, status, rows, due_rows, oldest_due in self._counts:
            tasks.add_metric([queue, status], rows)
            waits[queue] = max(waits.get(queue, 0.0), oldest_due or 0.0)
            waiting[queue] += due_rows
        oldest = GaugeMetricFamily(
            "pgsched_queue_oldest_due_seconds", "How long the oldest due row has waited.", labels=["queue"]
        )
        due = GaugeMetricFamily("pgsched_queue_due", "Rows that are due and wait.", labels=["queue"])
        for queue, seconds in waits.items():
            oldest.add_metric([queue], seconds)
            due.add_metric([queue], waiting[queue])
        yield from (tasks, oldest, due)
        for kind, (name, text) in TROUBLED.items():
            family = GaugeMetricFamily(name, text, labels=["queue", "task_type"])
            for row in largest(kind, [one for one in self._troubled if one.kind == kind]):
                family.add_metric([row.queue, row.task_type], row.rows)
            yield family
        yield from plain_gauges(
            ("pgsched_table_dead_tuples", "Dead rows of pgsched.tasks.", health.dead_tuples),
            ("pgsched_oldest_xmin_age_seconds", "Age of the oldest snapshot.", health.oldest_xmin_age),
            ("pgsched_notification_queue_usage", "Share of the notification queue in use.", health.notification_queue),
            ("pgsched_workers", "Living workers.", watched.workers),
            ("pgsched_schedules_stalled", "Schedules that should have run a minute ago and did not.", watched.stalled),
            (
                "pgsched_set_aside_tasks",
                "Tasks that workers have set aside: the database refuses them.",
                watched.set_aside,
            ),
        )
        yield _findings(watched)


def largest(kind: str, found: list[Troubled]) -> list[Troubled]:
    """Return the pairs of queue and type with the most rows, and the others as one."""
    ranked = sorted(found, key=lambda one: ((one.queue, one.task_type) == (OTHER, OTHER), -one.rows, one))
    rest = ranked[MOST_SERIES:]
    return ranked[:MOST_SERIES] + ([Troubled(kind, OTHER, OTHER, sum(one.rows for one in rest))] if rest else [])


def _findings(watched: Watched) -> Metric:
    """Return every check, with 0 when it found nothing."""
    family = GaugeMetricFamily("pgsched_findings", "What is wrong, by check.", labels=["check", "severity"])
    found = Counter((one["check"], one["severity"]) for one in watched.findings)
    for check in CHECKS:
        for severity in check.severities:
            family.add_metric([check.name, severity], found[check.name, severity])
    return family
