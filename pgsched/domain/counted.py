"""Statistics that upkeep has aggregated from the history: types, errors, deployments. Frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgsched.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStats(Record):
    """Attempts of one type that ended within a period; times in seconds, quantiles at most 9 % off."""

    task_type: str
    """Empty for all types beyond the 1,000 most frequent."""
    processed: int
    completed: int
    failed: int
    timed_out: int
    cancelled: int
    lost: int
    snoozed: int
    per_second: float
    """Throughput: attempts that ended per second."""
    failed_share: float | None
    """The share of processed attempts that failed, timed out or were lost, from 0 to 1."""
    run_mean: float | None
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None
    run_max: float | None
    wait_mean: float | None
    """From due to start, for first attempts."""
    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None
    wait_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeBucket(Record):
    """Attempts of a type that ended in one bucket of a period."""

    at: datetime
    """The start of the bucket."""
    completed: int
    failed: int
    timed_out: int
    cancelled: int
    lost: int
    snoozed: int
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None
    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class HistogramBin(Record):
    """A histogram of how long attempts ran or waited; bounds in seconds."""

    longer_than: float
    up_to: float
    runs: int
    waits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStats(Record):
    """Attempts that failed with the same error within a period."""

    id: str
    """The fingerprint of the group; ``other`` for all errors beyond the most frequent."""
    exception: str
    """The exception class; empty when the error was not raised by a handler."""
    message: str
    """The message, with placeholders for what differs from task to task."""
    number: int
    first_seen: datetime
    """The total, as far back as it is kept."""
    last_seen: datetime
    task_types: list[str]
    queues: list[str]
    versions: list[str]
    """Versions of the code that were the newest when the error occurred."""
    task_id: int | None
    """The id of a task that failed with it."""
    trend: list[int]
    """The number in each bucket of the period."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Record):
    """A version of the code that became the newest version of these types at about the same time."""

    at: datetime
    version: str | None
    task_types: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTime(Record):
    """The buckets of a period."""

    seconds: int
    """The length of a bucket."""
    since: datetime
    until: datetime
    covers: float
    """Seconds of the period that have passed."""
    counted_until: datetime | None
    """What ended by this time has been counted; None when no worker has counted yet."""
