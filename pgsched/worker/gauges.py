"""Gauges of the whole table, from a cache: a scrape never counts rows."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgsched.db import upkeep
from pgsched.db.session import Session
from pgsched.db.upkeep import Health, TaskCount, Unhandled

FRESH_SECONDS = 15.0
"""The cache is renewed this often at the most, and only while somebody scrapes."""
MAX_SHARE = 0.05
"""The share of time that counting may take: a table that is slow to count is counted less often."""
WANTED_SECONDS = 120.0
"""How long after a scrape the cache is kept fresh."""


class Gauges(Collector):
    """Counts of the table as they were when the cache was last renewed."""

    def __init__(self, *, session: Session) -> None:
        self._session = session
        self._counts: list[TaskCount] = []
        self._unhandled: list[Unhandled] = []
        self._health: Health | None = None
        self._scraped_at = monotonic()  # the first scrape should find something
        self._renew_after = 0.0

    async def tick(self) -> bool:
        """Renew the cache if it is old and wanted; returns whether it was. Raises DatabaseUnavailable."""
        begun = monotonic()
        if begun < self._renew_after or begun - self._scraped_at > WANTED_SECONDS:
            return False
        counts = await upkeep.count_tasks(self._session)
        unhandled = await upkeep.find_unhandled(self._session)
        health = await upkeep.check_health(self._session)
        # At once: a scrape in between must not show half of it.
        self._counts, self._unhandled, self._health = counts, unhandled, health
        ended = monotonic()
        self._renew_after = ended + max(FRESH_SECONDS, (ended - begun) / MAX_SHARE)
        return True

    def collect(self) -> Iterable[Metric]:
        """Return the families that ``/metrics`` shows."""
        self._scraped_at = monotonic()
        tasks = GaugeMetricFamily("pgsched_tasks", "Rows that wait, run or are dead.", labels=["queue", "status"])
        oldest = GaugeMetricFamily(
            "pgsched_queue_oldest_due_seconds", "How long the oldest due row has waited.", labels=["queue"]
        )
        waits: dict[str, float] = {}
        for queue, status, rows, oldest_due in self._counts:
            tasks.add_metric([queue, status], rows)
            waits[queue] = max(waits.get(queue, 0.0), oldest_due or 0.0)
        for queue, seconds in waits.items():
            oldest.add_metric([queue], seconds)
        yield tasks
        yield oldest
        unhandled = GaugeMetricFamily(
            "pgsched_unhandled_due",
            "Due rows whose task_type no living worker knows.",
            labels=["queue", "task_type"],
        )
        for row in self._unhandled:
            unhandled.add_metric([row.queue, row.task_type], row.rows)
        yield unhandled
        if self._health is not None:
            health = self._health
            yield GaugeMetricFamily(
                "pgsched_table_dead_tuples", "Dead rows of pgsched.tasks.", value=health.dead_tuples
            )
            yield GaugeMetricFamily(
                "pgsched_oldest_xmin_age_seconds", "Age of the oldest snapshot.", value=health.oldest_xmin_age
            )
            yield GaugeMetricFamily(
                "pgsched_notification_queue_usage",
                "Share of the notification queue in use.",
                value=health.notification_queue,
            )
