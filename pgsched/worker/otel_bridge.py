"""A worker's own metrics, seen through a meter of OpenTelemetry as well: the counters and gauges of ``/metrics``.

Histograms are left out: a histogram cannot be observed, and what matters of them is in ``messaging.process.duration``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from time import monotonic
from typing import Final

from opentelemetry.metrics import CallbackOptions, Meter, Observation
from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric

SEEN: Final[dict[str, tuple[str, str]]] = {
    "pgsched_tasks": ("pgsched.tasks", "{task}"),
    "pgsched_queue_oldest_due_seconds": ("pgsched.queue.oldest_due", "s"),
    "pgsched_unhandled_due": ("pgsched.unhandled_due", "{task}"),
    "pgsched_workers": ("pgsched.workers", "{worker}"),
    "pgsched_schedules_stalled": ("pgsched.schedules.stalled", "{schedule}"),
    "pgsched_running": ("pgsched.running", "{task}"),
    "pgsched_slots": ("pgsched.slots", "{task}"),
    "pgsched_listener_connected": ("pgsched.listener.connected", "1"),
    "pgsched_executions": ("pgsched.executions", "{attempt}"),
    "pgsched_ticks_missed": ("pgsched.ticks.missed", "{tick}"),
    "pgsched_leases_expired": ("pgsched.leases.expired", "{lease}"),
    "pgsched_leases_lost": ("pgsched.leases.lost", "{lease}"),
    "pgsched_fenced": ("pgsched.fenced", "{attempt}"),
    "pgsched_database_errors": ("pgsched.database.errors", "{error}"),
    "pgsched_log_errors": ("pgsched.log.errors", "{line}"),
}
"""Names of families, and the instrument and the unit of each."""
COUNTERS: Final = frozenset(
    {
        "pgsched_executions",
        "pgsched_ticks_missed",
        "pgsched_leases_expired",
        "pgsched_leases_lost",
        "pgsched_fenced",
        "pgsched_database_errors",
        "pgsched_log_errors",
    }
)
SAME_SECONDS: Final = 0.5
"""The instruments are asked one after the other: so long they are told of one and the same collection."""


def mirror(meter: Meter, metrics: CollectorRegistry) -> None:
    """Let a meter observe the families of a registry that have an instrument; one that is not there shows nothing."""
    collection = _Collection(metrics)
    for family, (name, unit) in SEEN.items():
        make = meter.create_observable_counter if family in COUNTERS else meter.create_observable_gauge
        make(name, callbacks=[collection.callback(family)], unit=unit)


class _Collection:
    """What the registry said last."""

    def __init__(self, metrics: CollectorRegistry) -> None:
        self._metrics = metrics
        self._families: dict[str, Metric] = {}
        self._collected_at = -SAME_SECONDS

    def callback(self, family: str) -> Callable[[CallbackOptions], Iterable[Observation]]:
        """Return what observes a family."""

        def observe(_options: CallbackOptions) -> Iterable[Observation]:
            return self._observe(family)

        return observe

    def _observe(self, family: str) -> list[Observation]:
        if monotonic() - self._collected_at >= SAME_SECONDS:
            self._families = {metric.name: metric for metric in self._metrics.collect()}
            self._collected_at = monotonic()
        found = self._families.get(family)
        samples = found.samples if found is not None else []
        return [Observation(sample.value, sample.labels) for sample in samples if not sample.name.endswith("_created")]
