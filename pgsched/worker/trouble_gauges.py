"""The troubles of a worker as ``/metrics`` shows them: every kind is there, with 0 while nothing is wrong."""

from __future__ import annotations

from collections.abc import Iterable

from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from pgsched.worker.troubles import KINDS, Troubles


class TroubleGauges(Collector):
    """Looks at the worker when it is scraped."""

    def __init__(self, troubles: Troubles) -> None:
        self._troubles = troubles

    def collect(self) -> Iterable[Metric]:
        """Return the families."""
        there = {trouble.kind for trouble in self._troubles.now()}
        kinds = GaugeMetricFamily("pgsched_worker_trouble", "Processes with this trouble.", labels=["kind"])
        for kind in KINDS:
            kinds.add_metric([kind], float(kind in there))
        yield kinds
        number, oldest = self._troubles.unwritten()
        yield GaugeMetricFamily("pgsched_unwritten_outcomes", "Outcomes that wait to be written.", value=number)
        yield GaugeMetricFamily(
            "pgsched_unwritten_outcome_age_seconds", "How long the oldest of them has waited.", value=oldest
        )
        slots = self._troubles.slots()
        yield GaugeMetricFamily(
            "pgsched_slots_overdue", "Slots held by attempts that should have ended.", value=slots.overdue
        )
        yield GaugeMetricFamily(
            "pgsched_slots_lost", "Free slots that begin nothing though tasks wait.", value=slots.lost
        )
