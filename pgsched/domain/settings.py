"""What a worker is told: flags, then ``PGSCHED_*``, then the defaults below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgsched.domain.errors import ConfigError, Described
from pgsched.domain.queue_selector import QueueSpec, parse_queue_specs

CAPTURE_LEVELS = ("debug", "info", "warning", "error", "critical")
CAPTURE_OFF = "off"
DEFAULT_CAPTURE_LEVEL = "info"
MOST_TRANSACTIONS = 10
"""Connections for transactional handlers, unless a worker is told otherwise."""
SHORTEST_PATIENCE, LONGEST_PATIENCE = 5.0, 30.0
"""Seconds for which a worker waits for the answer to a statement, whatever its lease is."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How one worker process works."""

    queues: tuple[str, ...] = ("default",)
    """``NAME[:MOST][@WEIGHT]`` each, the name also as a pattern; see :mod:`pgsched.domain.queue_selector`."""
    concurrency: int = 20
    """Tasks that run at once."""
    lease: float = 30.0
    """Seconds a claim is good for; the heartbeat renews it at a third of that."""
    poll_interval: float = 5.0
    """Seconds after which an idle worker looks without having been woken."""
    shutdown_timeout: float = 30.0
    """Seconds that running tasks get to finish after SIGTERM."""
    transactions: int | None = None
    """Connections for transactional handlers, and so how many run at once; None: as ``concurrency``, 10 at most."""
    max_batch: int = 1000
    """The most rows one claim takes."""
    capture_logs: str | None = None
    """The least level of what handlers log through ``logging`` that is kept, or ``off``; None: the App's own."""

    listen_dsn: str | None = field(default=None, repr=False)
    """Where to LISTEN, when the DSN leads to a pooler that keeps no sessions; None: the same DSN."""

    def __post_init__(self) -> None:
        """Raise ConfigError for a value outside its range."""
        parse_queue_specs(self.queues)
        _in_range("concurrency", self.concurrency, 1, 10_000)
        _in_range("lease", self.lease, 1, 86_400)
        _in_range("poll_interval", self.poll_interval, 0.05, 3_600)
        _in_range("shutdown_timeout", self.shutdown_timeout, 0, 86_400)
        _in_range("max_batch", self.max_batch, 1, 100_000)
        if self.transactions is not None:
            _in_range("transactions", self.transactions, 1, 10_000)
        if self.capture_logs is not None:
            capture_level(self.capture_logs)

    @property
    def queue_specs(self) -> tuple[QueueSpec, ...]:
        """The queues, read."""
        return parse_queue_specs(self.queues)

    @property
    def statement_timeout(self) -> float:
        """Seconds for which an answer about rows is waited for: by the end of a lease it is of no use."""
        return min(max(self.lease, SHORTEST_PATIENCE), LONGEST_PATIENCE)

    @property
    def connections_for_transactions(self) -> int:
        """How many connections transactional handlers may have at once."""
        return min(self.concurrency, MOST_TRANSACTIONS if self.transactions is None else self.transactions)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"must be between {low:g} and {high:g}", field=name, value=Described(f"{value:g}"))


def capture_level(level: str | None) -> str:
    """Return a level of ``logging`` in small letters, ``off`` for None. Raises ConfigError for anything else."""
    known = CAPTURE_OFF if level is None else str(level).lower()
    if known not in (*CAPTURE_LEVELS, CAPTURE_OFF):
        rule = f"must be one of {', '.join(CAPTURE_LEVELS)}, {CAPTURE_OFF}"
        raise ConfigError(rule, field="capture_logs", value=Described(level))
    return known


def dsn_from(environment: Mapping[str, str], given: str | None = None) -> str:
    """Return the DSN: the one given, else ``PGSCHED_DSN``, else ``""`` (libpq's own PG* variables)."""
    return given if given is not None else environment.get("PGSCHED_DSN", "")


def app_version(environment: Mapping[str, str], given: str | None = None) -> str | None:
    """Return the version of an application's code: the one given, else ``PGSCHED_APP_VERSION``."""
    return given if given is not None else environment.get("PGSCHED_APP_VERSION")
