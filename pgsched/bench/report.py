"""The results of a measurement, and advice that follows from them. Plain values."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pgsched.bench.forecast import Costs, Forecast, Site, efficiency_of, forecast

SETTINGS = (
    "fsync",
    "synchronous_commit",
    "synchronous_standby_names",
    "shared_buffers",
    "wal_level",
    "wal_compression",
    "full_page_writes",
    "max_wal_size",
    "checkpoint_timeout",
    "commit_delay",
    "autovacuum",
    "max_connections",
)
"""Settings of the server that determine its speed."""
FAR_MS = 2.0
SLOW_COMMIT_MS = 10.0
SMALL_BUFFERS = 256 * 1024**2
SMALL_WAL = 2 * 1024**3
MILLION = 1_000_000

_UNITS = {"B": 1, "kB": 1024, "MB": 1024**2, "GB": 1024**3, "TB": 1024**4}


@dataclass(frozen=True, kw_only=True)
class Report:
    """One measurement. Times are in milliseconds."""

    version: str
    settings: Mapping[str, str]
    cores: int
    """Processors of the machine that measures, and runs the workers."""
    tasks: int
    """Drained."""
    processes: int
    concurrency: int
    handler: float
    """How long the handler of a drained task waits."""
    round_trip_p50: float
    round_trip_p99: float
    sync_p50: float
    """How long a commit waits for the disk, and for synchronous standbys."""
    single_per_second: float
    """Rows inserted one after the other on one connection, each in its own transaction."""
    single_p50: float
    bulk_per_second: float
    """Rows inserted by one ``schedule_many``."""
    drain_per_second: float
    wal_per_task: float
    """Bytes from the workers' start to the last commit, without the inserts."""
    pickup_p50: float | None
    """From the commit of an insert to the first line of the handler, in an idle worker; None: not measured."""
    pickup_p99: float | None
    disk_tasks: float
    """Bytes by which the table grew per task, from before the inserts to after the drain."""
    disk_indexes: float
    disk_history: float
    worker_processor: float | None
    """Processor time of the worker processes per drained task; None if it was too short, or is not reported."""
    server_processor: float | None
    """Processor time of the server per drained task; None too if the server is on another machine."""
    insert_processor: float | None
    """Processor time of the server and of the client per single insert."""
    worker_megabytes: float | None
    """Peak memory of one worker process; None if the machine does not report it."""
    sites: Sequence[Site] = ()
    """The sites to predict."""

    @property
    def disk_per_million(self) -> float:
        """Bytes on disk for a million retained tasks."""
        return (self.disk_tasks + self.disk_indexes + self.disk_history) * MILLION

    @property
    def site(self) -> Site:
        """Where it was measured."""
        return Site(
            cores=self.cores,
            processes=self.processes,
            concurrency=self.concurrency,
            round_trip=self.round_trip_p50 / 1000,
            sync=self.sync_p50 / 1000,
            handler=self.handler / 1000,
        )

    @property
    def costs(self) -> Costs | None:
        """What a forecast needs; None if the processor times or the pick-up are unknown."""
        if not self.worker_processor or not self.server_processor or not self.insert_processor:
            return None
        if self.pickup_p50 is None:
            return None
        costs = Costs(
            worker=self.worker_processor / 1000,
            server=self.server_processor / 1000,
            insert=max(self.single_p50 - self.round_trip_p50 - self.sync_p50, 0.0) / 1000,
            insert_processor=self.insert_processor / 1000,
            pickup=max(self.pickup_p50 - self.round_trip_p50, 0.0) / 1000,
            processes=self.processes,
        )
        return replace(costs, efficiency=efficiency_of(costs, self.site, self.drain_per_second))

    @property
    def predictions(self) -> list[tuple[Site, Forecast]]:
        """What each site would do; none without :attr:`costs`."""
        costs = self.costs
        return [] if costs is None else [(site, forecast(costs, site)) for site in self.sites]

    def as_dict(self) -> dict[str, Any]:
        """Return it as a JSON-able dictionary."""
        values = {name: value for name, value in vars(self).items() if name not in ("settings", "sites")}
        rounded = {name: round(value, 3) if isinstance(value, float) else value for name, value in values.items()}
        told = {"disk_per_million": round(self.disk_per_million), "settings": dict(self.settings), "hints": hints(self)}
        return rounded | told | {"predictions": [_prediction(site, found) for site, found in self.predictions]}


def _prediction(site: Site, found: Forecast) -> dict[str, Any]:
    return {
        "cores": site.cores,
        "worker_cores": site.worker_cores,
        "processes": site.processes,
        "concurrency": site.concurrency,
        "connections": site.connections,
        "round_trip": round(site.round_trip * 1000, 3),
        "sync": round(site.sync * 1000, 3),
        "handler": round(site.handler * 1000, 3),
        "drain_per_second": round(found.rate),
        "drain_limit": found.limit,
        "single_per_second": round(found.inserts),
        "single_limit": found.insert_limit,
        "pickup_p50": round(found.pickup * 1000, 3),
    }


def hints(report: Report) -> list[str]:
    """Return advice, one line each."""
    settings = report.settings
    found = []
    if settings.get("fsync") == "off":
        found.append(
            "fsync is off: a crash of the machine may destroy the database; the figures do not apply to a safe one"
        )
    if settings.get("synchronous_commit") == "off":
        found.append(
            "synchronous_commit is off: a crash may lose the latest commits (workers request it where it matters)"
        )
    if settings.get("synchronous_standby_names"):
        found.append("commits wait for a synchronous standby: its latency is part of single inserts and pick-up")
    if settings.get("full_page_writes") == "on" and settings.get("wal_compression") == "off":
        found.append("wal_compression is off: lz4 or zstd shrinks the full pages that are written after a checkpoint")
    if size_of(settings.get("max_wal_size", "")) < SMALL_WAL:
        found.append("max_wal_size is small: under load checkpoints are frequent, and each increases the WAL per task")
    if size_of(settings.get("shared_buffers", "")) < SMALL_BUFFERS:
        found.append("shared_buffers is small: a quarter of the server's memory is usual")
    if settings.get("autovacuum") == "off":
        found.append("autovacuum is off: dead rows accumulate and claims become slow; switch it on")
    if report.round_trip_p50 > FAR_MS:
        found.append(
            f"the server is {report.round_trip_p50:.1f} ms away: run workers near it; each waits for responses in turn"
        )
    if report.single_p50 - report.round_trip_p50 > SLOW_COMMIT_MS:
        found.append(
            f"a commit takes {report.single_p50 - report.round_trip_p50:.0f} ms: the disk is slow to sync; "
            "schedule_many, or several tasks in one transaction, pay it once"
        )
    return found


def size_of(text: str) -> int:
    """The bytes of a size as PostgreSQL shows it (``16GB``); 0 for anything else."""
    digits = text.rstrip("kMGTB")
    unit = text[len(digits) :]
    return int(digits) * _UNITS[unit] if digits.isdecimal() and unit in _UNITS else 0


def percentile(values: Iterable[float], share: float) -> float:
    """Return the measured value below which a ``share`` (0 to 1) of the values lies. Raises ValueError without any."""
    ordered = sorted(values)
    if not ordered:
        raise ValueError("there are no values")
    return ordered[round((len(ordered) - 1) * share)]
