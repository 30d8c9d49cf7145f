"""A metrics registry in which a collector that raises does not hide the others."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

from pgsched.observability.logs import get_logger

log = get_logger("pgsched.worker")


class Metrics(CollectorRegistry):
    """The metrics of the workers in one process."""

    def register(self, collector: Collector) -> None:
        """Register a collector; families that it fails to produce are left out and logged."""
        super().register(_Contained(collector))


class _Contained(Collector):
    def __init__(self, collector: Collector) -> None:
        self._collector = collector

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        found: list[Metric] = []
        try:
            found.extend(self._collector.collect())  # one by one: those before the error are kept
        except Exception:
            log.exception("metrics_failed", collector=type(self._collector).__qualname__)
        return found
