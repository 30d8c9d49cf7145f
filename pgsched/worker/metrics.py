"""The counters of one worker, as plain numbers, and their form for Prometheus.

The counters of prometheus-client take a lock and look labels up at every step, which costs several microseconds for
each task; these are integers in dictionaries, converted to its families when they are scraped.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator
from itertools import accumulate

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from pgsched.domain.attempt import Claimed, Finish, Outcome
from pgsched.observability.label_sets import Series
from pgsched.observability.logs import errors

SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)
OUTCOMES = ("completed", "failed", "timed_out", "dead", "snoozed", "suspended")
POLICIES = ("once", "skip", "all", "overlap")
ROWS = (0, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000)


class Histogram:
    """Counts of observations per bucket, and their sum."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    @property
    def number(self) -> int:
        """The number of observations."""
        return sum(self.counts)

    def observe(self, value: float) -> None:
        """Count one observation."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    def buckets(self) -> list[tuple[str, float]]:
        """Return the cumulative counts in Prometheus's form."""
        names = [*(f"{bound:g}" for bound in self.bounds), "+Inf"]
        return list(zip(names, map(float, accumulate(self.counts)), strict=True))


class Tally(Counter[str]):
    """Counts of a few kinds of one thing: outcomes, policies, statuses."""

    @property
    def number(self) -> int:
        """The total."""
        return self.total()


class Attempts(Tally):
    """The outcomes of the attempts of one task type in one queue, and their durations."""

    __slots__ = ("durations",)

    def __init__(self) -> None:
        super().__init__()
        self.durations = Histogram(SECONDS)


class WorkerMetrics(Collector):
    """The counters of one worker process."""

    def __init__(self, *, slots: int) -> None:
        self.slots = slots
        self.running = 0
        self.leases_expired = 0
        """Claimed rows whose last worker's lease had expired."""
        self.leases_lost = 0
        """Our own rows that were lost before they were finished."""
        self.fenced = 0
        """Attempts that started and whose result was rejected because the lease was lost: noticed by the heartbeat
        while the handler ran, or by the database at the finish. Each attempt counts once."""
        self.database_errors = 0
        self.listener_connected = False
        self.claim_seconds = Histogram(SECONDS)
        self.claim_batch = Histogram(ROWS)
        self.attempts = Series(Attempts)
        self.start_delays = Series(lambda: Histogram(SECONDS))
        self.ticks_missed = Series(Tally)
        """By task type and queue, and the policy that decided."""
        self.deleted = Series(Tally)
        """By queue and former status."""

    def claim(self, tasks: list[Claimed], seconds: float) -> None:
        """Count a claim that took ``seconds``."""
        self.claim_seconds.observe(seconds)
        self.claim_batch.observe(len(tasks))
        self.leases_expired += sum(task.lease_expired for task in tasks)

    def claimed(self) -> float:
        """The number of tasks claimed so far."""
        return self.claim_batch.total

    def start_delay(self, queue: str, seconds: float) -> None:
        """Count how long after its due time a task started."""
        self.start_delays.at((queue,)).observe(seconds if seconds > 0.0 else 0.0)

    def execution(self, task: Claimed, outcome: Outcome, finish: Finish) -> None:
        """Count an attempt that ended."""
        names = (task.task_type, task.queue)
        ended = self.attempts.at(names)
        if task.schedule_type != "one_time":
            self.ticks_missed.at(names)  # present with 0 before a tick is missed
        ended.durations.observe(outcome.finished - outcome.started)
        dead = finish.dead_lettered or finish.next_status == "dead"
        ended["dead" if dead else outcome.status] += 1

    def usual_duration(self, task_type: str, *, share: float, enough: int) -> float | None:
        """Return the smallest bucket bound in seconds that a ``share`` of a type's attempts stayed within.

        None when there were fewer than ``enough``, or they exceeded every bound.
        """
        counts = [0] * (len(SECONDS) + 1)
        for (known, _), attempts in self.attempts.items():
            if known == task_type:
                counts = [mine + more for mine, more in zip(counts, attempts.durations.counts, strict=True)]
        total = sum(counts)
        if total < enough:
            return None
        bounds = zip(SECONDS, accumulate(counts), strict=False)
        return next((float(bound) for bound, within in bounds if within >= share * total), None)

    def died_unrun(self, task: Claimed) -> None:
        """Count a task that died without an attempt: its workers were lost, or its next tick cannot be computed."""
        self.attempts.at((task.task_type, task.queue))["dead"] += 1

    def missed(self, task: Claimed, policy: str, ticks: int) -> None:
        """Count ticks of a task that were not run, by the policy that decided."""
        self.ticks_missed.at((task.task_type, task.queue))[policy] += ticks

    def prune(self, queue: str, **gone: int) -> None:
        """Count deleted finished tasks, by their former status."""
        self.deleted.at((queue,)).update(gone)

    def collect(self) -> Iterable[Metric]:
        """Return the families that ``/metrics`` shows."""
        executions = CounterMetricFamily(
            "pgsched_executions", "Attempts that ended.", labels=["task_type", "queue", "outcome"]
        )
        attempts = self.attempts.shown()
        for names, ended in attempts:
            # Every outcome from the first attempt on: nobody sees a series grow that starts with 1.
            for outcome in OUTCOMES:
                executions.add_metric([*names, outcome], ended[outcome])
        yield executions
        durations = HistogramMetricFamily(
            "pgsched_execution_duration_seconds", "How long attempts ran.", labels=["task_type", "queue"]
        )
        for names, ended in attempts:
            if ended.durations.number:
                durations.add_metric(list(names), ended.durations.buckets(), ended.durations.total)
        yield durations
        delays = HistogramMetricFamily("pgsched_start_delay_seconds", "Start minus next_run_at.", labels=["queue"])
        for names, histogram in self.start_delays.shown():
            delays.add_metric(list(names), histogram.buckets(), histogram.total)
        yield delays
        missed = CounterMetricFamily(
            "pgsched_ticks_missed",
            "Ticks that were not run, by the policy that decided it.",
            labels=["task_type", "queue", "policy"],
        )
        for names, ticks in self.ticks_missed.shown():
            # Every policy from the first tick on: nobody sees a series grow that starts with 1.
            for policy in POLICIES:
                missed.add_metric([*names, policy], ticks[policy])
        yield missed
        pruned = CounterMetricFamily("pgsched_pruned", "Finished tasks that were deleted.", labels=["queue", "status"])
        for names, deleted in self.deleted.shown():
            for status, number in sorted(deleted.copy().items()):
                pruned.add_metric([*names, status], number)
        yield pruned
        yield _plain_histogram("pgsched_claim_seconds", "How long claims took.", self.claim_seconds)
        yield _plain_histogram("pgsched_claim_batch_size", "Rows per claim.", self.claim_batch)
        yield from plain_gauges(
            ("pgsched_running", "Tasks running in this worker.", self.running),
            ("pgsched_slots", "Tasks this worker may run at once.", self.slots),
            ("pgsched_listener_connected", "1 while LISTEN works.", float(self.listener_connected)),
        )
        counters = (
            ("pgsched_leases_expired", "Rows claimed after another worker's lease ran out.", self.leases_expired),
            ("pgsched_leases_lost", "Rows this worker lost before it had finished them.", self.leases_lost),
            (
                "pgsched_fenced",
                "Attempts whose result was not written because the row was no longer theirs.",
                self.fenced,
            ),
            ("pgsched_database_errors", "Statements that failed and were tried again.", self.database_errors),
        )
        for name, text, number in counters:
            yield CounterMetricFamily(name, text, value=number)
        yield log_errors()


def plain_gauges(*gauges: tuple[str, str, float]) -> Iterator[GaugeMetricFamily]:
    """Yield the name, the description and the value of each gauge without labels."""
    for name, text, value in gauges:
        yield GaugeMetricFamily(name, text, value=value)


def log_errors() -> CounterMetricFamily:
    """Return how many log lines of this process were lost, for all its workers."""
    return CounterMetricFamily(
        "pgsched_log_errors", "Log lines that were lost, or written without what could not be shown.", value=errors()
    )


def _plain_histogram(name: str, text: str, histogram: Histogram) -> HistogramMetricFamily:
    return HistogramMetricFamily(name, text, buckets=histogram.buckets(), sum_value=histogram.total)
