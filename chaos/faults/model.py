"""What a fault is, how large a trial is, and the row of the table that comes of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from chaos.faults.trial import Trial

RECOVERY_SECONDS = 30.0
"""Seconds after a fault within which the throughput must have recovered."""


@dataclass(frozen=True, kw_only=True)
class Size:
    """How long the parts of a trial last, in seconds."""

    short: bool
    warm_up: float
    before: float
    """The throughput is measured for so long, then the fault begins."""
    after: float
    """And for so long again once it has recovered."""
    lease: float
    recovered: float = 0.95
    """Such a part of the throughput before, in one second, is a recovery."""


LONG = Size(short=False, warm_up=2.0, before=6.0, after=6.0, lease=2.5)
# The tests that run beside it take some of the throughput.
SHORT = Size(short=True, warm_up=0.3, before=1.2, after=1.0, lease=1.5, recovered=0.5)


@dataclass(frozen=True, kw_only=True)
class Shape:
    """The workers of a trial. Slots and not the machine bound the throughput: most tasks only sleep for 50 ms."""

    workers: int = 2
    concurrency: int = 10
    transactions: int = 4
    poll_interval: float = 0.5
    shutdown_timeout: float = 10.0
    app: str = "chaos.load.app:app"
    language: str = "python"
    """``typescript``: the worker of clients/typescript, with the steady handlers."""
    options: tuple[str, ...] = ()
    """Further arguments of the workers' command."""

    @property
    def waiting(self) -> int:
        """Number of tasks that the producer keeps waiting: work for more than a second."""
        return self.workers * self.concurrency * 25


class Fault:
    """One way to break a running system. A subclass sets ``name`` and ``does`` and overrides :meth:`inject`."""

    name: ClassVar[str]
    does: ClassVar[str]
    """The fault, in a sentence for the documentation."""
    injects: ClassVar[str] = "faults"
    """What is counted."""
    own_server: ClassVar[bool] = False
    """It needs a PostgreSQL that it may stop, with ``server_settings``; :attr:`Trial.server` is that one."""
    server_settings: ClassVar[Mapping[str, str]] = {}
    in_tests: ClassVar[bool] = True
    """Its short form is a test; the others run in `make chaos` only."""
    ends_workers: ClassVar[bool] = False
    """Workers may end by themselves; they are started again."""

    def shape(self, size: Size) -> Shape:
        """The workers it wants."""
        return Shape()

    def missing(self) -> str | None:
        """Return why it cannot run on this machine; None when it can."""
        return None

    def set_up(self, trial: Trial) -> None:
        """Prepare, before any worker runs: put proxies in the way, set :attr:`Trial.worker_dsn` and the like."""

    def inject(self, trial: Trial, chance: random.Random) -> int:
        """Break things while the load runs; returns how many times. Every choice comes from ``chance``."""
        raise NotImplementedError

    def tell(self) -> Iterable[str]:
        """Yield what else was measured, in sentences."""
        return ()

    def check(self, trial: Trial) -> Iterable[str]:
        """Look, once everything has ended, whether the fault struck as intended; yield what is wrong."""
        return ()

    def tear_down(self, trial: Trial) -> None:
        """Take down what :meth:`set_up` made; also called after a failure, then perhaps of :meth:`set_up` itself."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What the database says at the end."""

    lost: int
    """Acknowledged inserts that are missing or did not end as expected."""
    duplicated: int
    """Completed executions and effects beyond the one that each tick should have."""
    broken: list[str] = field(default_factory=list)
    """The invariants that do not hold, with some of the rows that break each."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    system: str
    fault: str
    seed: int
    short: bool = False
    tasks: int = 0
    injected: int = 0
    lost: int = 0
    duplicated: int = 0
    recovery_seconds: float | None = None
    """From the end of the fault to the first second that is as good as before; None: not within the limit."""
    before: float = 0.0
    """Tasks a second."""
    after: float = 0.0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)
    told: list[str] = field(default_factory=list)
    """What else was measured, in sentences."""
    left_out: str | None = None
    """Why it did not run."""

    @property
    def ratio(self) -> float:
        """Throughput after the fault divided by that before."""
        return self.after / self.before if self.before else 0.0

    @property
    def problems(self) -> list[str]:
        """What is wrong with it, a line each."""
        if self.left_out is not None:
            return []
        wrong = list(self.broken)
        if self.lost:
            wrong.append(f"{self.lost} of {self.tasks} tasks were lost")
        if self.duplicated:
            wrong.append(f"{self.duplicated} executions or effects are duplicates")
        if not self.injected:
            wrong.append("no fault was injected: the trial shows nothing")
        if self.recovery_seconds is None:
            wrong.append(f"the throughput was not back within {RECOVERY_SECONDS:g} s")
        return wrong
