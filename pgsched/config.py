"""What a worker is told: flags, then ``PGSCHED_*``, then the defaults below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pgsched.errors import ConfigError


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How one worker process works."""

    queues: tuple[str, ...] = ("default",)
    """Served in turn; within a priority no queue comes before another."""
    concurrency: int = 20
    """Tasks that run at once."""
    lease: float = 30.0
    """Seconds a claim is good for; the heartbeat renews it at a third of that."""
    poll_interval: float = 5.0
    """Seconds after which an idle worker looks without having been woken."""
    shutdown_timeout: float = 30.0
    """Seconds that running tasks get to finish after SIGTERM."""
    max_batch: int = 1000
    """The most rows one claim takes."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value outside its range."""
        if not self.queues or any(not name for name in self.queues):
            raise ConfigError("queues must name at least one queue")
        if len(set(self.queues)) < len(self.queues):
            raise ConfigError(f"queues must not name a queue twice, got {', '.join(self.queues)}")
        _in_range("concurrency", self.concurrency, 1, 10_000)
        _in_range("lease", self.lease, 1, 86_400)
        _in_range("poll_interval", self.poll_interval, 0.05, 3_600)
        _in_range("shutdown_timeout", self.shutdown_timeout, 0, 86_400)
        _in_range("max_batch", self.max_batch, 1, 100_000)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"{name} must be between {low:g} and {high:g}, got {value:g}")


def dsn_from(environment: Mapping[str, str], given: str | None = None) -> str:
    """Return the DSN: the one given, else ``PGSCHED_DSN``, else ``""`` (libpq's own PG* variables)."""
    return given if given is not None else environment.get("PGSCHED_DSN", "")
