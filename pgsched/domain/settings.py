"""Settings of a worker: flags, then ``PGSCHED_*``, then the defaults below."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from pgsched.domain.errors import ConfigError, Described
from pgsched.domain.queue_selector import QueueSpec, parse_queue_specs

CAPTURE_LEVELS = ("debug", "info", "warning", "error", "critical")
CAPTURE_OFF = "off"
DEFAULT_CAPTURE_LEVEL = "info"
MOST_TRANSACTIONS = 10
"""Connections for transactional handlers, unless a setting says otherwise."""
SHORTEST_PATIENCE, LONGEST_PATIENCE = 5.0, 30.0
"""Seconds for which a worker waits for the answer to a statement, whatever its lease is."""


@dataclass(frozen=True, kw_only=True)
class WorkerSettings:
    """How one worker process works."""

    queues: tuple[str, ...] = ("default",)
    """``NAME[:MOST][@WEIGHT]`` each; the name may be a pattern; see :mod:`pgsched.domain.queue_selector`."""
    concurrency: int = 20
    """Number of tasks that run at once."""
    lease: float = 30.0
    """Length of a lease in seconds; the heartbeat renews it after a third of that."""
    poll_interval: float = 5.0
    """Seconds after which an idle worker polls without having been notified."""
    shutdown_timeout: float = 30.0
    """Seconds that running tasks have to finish after SIGTERM."""
    transactions: int | None = None
    """Connections for transactional handlers, which limits how many run at once; None: ``concurrency``, at most 10."""
    max_batch: int = 1000
    """Maximum number of rows of one claim."""
    capture_logs: str | None = None
    """The lowest level of handlers' ``logging`` records that is kept, or ``off``; None uses the App's own setting."""

    listen_dsn: str | None = field(default=None, repr=False)
    """The DSN for LISTEN, when the other one leads to a pooler that keeps no sessions; None uses the same DSN."""

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
        """The queues, parsed."""
        return parse_queue_specs(self.queues)

    @property
    def statement_timeout(self) -> float:
        """Seconds to wait for an answer about rows, which is useless once a lease has expired."""
        return min(max(self.lease, SHORTEST_PATIENCE), LONGEST_PATIENCE)

    @property
    def connections_for_transactions(self) -> int:
        """The maximum number of connections for transactional handlers."""
        return min(self.concurrency, MOST_TRANSACTIONS if self.transactions is None else self.transactions)


def _in_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ConfigError(f"must be between {low:g} and {high:g}", field=name, value=Described(f"{value:g}"))


def capture_level(level: str | None) -> str:
    """Return a ``logging`` level in lower case, ``off`` for None. Raises ConfigError for anything else."""
    known = CAPTURE_OFF if level is None else str(level).lower()
    if known not in (*CAPTURE_LEVELS, CAPTURE_OFF):
        rule = f"must be one of {', '.join(CAPTURE_LEVELS)}, {CAPTURE_OFF}"
        raise ConfigError(rule, field="capture_logs", value=Described(level))
    return known


def dsn_from(environment: Mapping[str, str], given: str | None = None) -> str:
    """Return the DSN: the given one, else ``PGSCHED_DSN``, else ``""`` (libpq's own PG* variables)."""
    return given if given is not None else environment.get("PGSCHED_DSN", "")


def app_version(environment: Mapping[str, str], given: str | None = None) -> str | None:
    """Return the version of an application's code: the given one, else ``PGSCHED_APP_VERSION``."""
    return given if given is not None else environment.get("PGSCHED_APP_VERSION")
