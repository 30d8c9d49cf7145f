"""What upkeep has counted of the history: types, errors, deployments. Frozen records."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pgsched.domain.records import Record


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeStats(Record):
    """What ended of one type within a time; times in seconds, quantiles at most 9 % off."""

    task_type: str
    """Empty: of all types beyond the 1,000 most frequent ones."""
    processed: int
    completed: int
    failed: int
    timed_out: int
    cancelled: int
    lost: int
    snoozed: int
    per_second: float
    """Throughput: attempts that ended in a second."""
    failed_share: float | None
    """How much of what was processed failed, timed out or was lost, from 0 to 1."""
    run_mean: float | None
    run_p50: float | None
    run_p95: float | None
    run_p99: float | None
    run_max: float | None
    wait_mean: float | None
    """From due to start, of first attempts."""
    wait_p50: float | None
    wait_p95: float | None
    wait_p99: float | None
    wait_max: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class TypeBucket(Record):
    """What ended of a type in one bucket of a time."""

    at: datetime
    """When the bucket begins."""
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
    """How many attempts ran or waited for about so long; bounds in seconds."""

    longer_than: float
    up_to: float
    runs: int
    waits: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorStats(Record):
    """Attempts that failed with the same error within a time."""

    id: str
    """The fingerprint of the group; ``other``: of all errors beyond the most frequent ones."""
    exception: str
    """The class; empty where the error is none of a handler."""
    message: str
    """With placeholders for what differs from task to task."""
    number: int
    first_seen: datetime
    """Ever, as far as it is kept."""
    last_seen: datetime
    task_types: list[str]
    queues: list[str]
    versions: list[str]
    """Versions of the code that were the newest when it happened."""
    task_id: int | None
    """A task that failed with it."""
    trend: list[int]
    """How many in each bucket of the time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployment(Record):
    """A version of the code that became the newest of these types at about the same time."""

    at: datetime
    version: str | None
    task_types: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedTime(Record):
    """The buckets that a time is made of."""

    seconds: int
    """How long a bucket is."""
    since: datetime
    until: datetime
    covers: float
    """Seconds of it that have gone by."""
    counted_until: datetime | None
    """What ended by then is counted; None: no worker has counted yet."""
