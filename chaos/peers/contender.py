"""A queue under trial beside others: all have the same load, the same faults and the same count at the end."""

from __future__ import annotations

import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol

from chaos.faults.model import Shape, Size, Verdict
from chaos.faults.system import Command, Connection
from chaos.peers.effects import completed_runs

LEASE_SECONDS = 3.0
"""After so long without a sign of life a worker is taken for dead, in every queue."""
QUIET_SECONDS = 12.0
"""What has not changed for so long will not change: four of these leases."""
WAITING_PER_SLOT = 15
"""Number of tasks that the producer keeps waiting for each slot: work for three seconds."""


@dataclass(frozen=True, kw_only=True)
class Tally:
    """The end of a trial, from what the handlers wrote down and from the queue's own tables."""

    lost: int
    """Tasks whose insert was acknowledged and whose handler never ran to its end."""
    left_open: int
    """Tasks whose handler ran to its end, but which the queue does not have as completed."""
    ran_twice: int
    """Tasks whose handler ran to its end more than once."""
    completed_twice: int
    """Tasks that the queue itself has as completed more than once."""


class Inserter(Protocol):
    """The producer's hold of a queue, on separate connections. After any exception, it is recreated."""

    def waiting(self) -> int:
        """How many tasks wait."""

    def insert(self, count: int) -> list[int]:
        """Insert a number of tasks in one transaction; return their ids once the commit is acknowledged."""

    def close(self) -> None:
        """Let go of the connections."""


class Contender(ABC):
    """One queue, as ``System`` of a trial. ``folder`` is set when the trial begins, ``tally`` when it is over."""

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]]
    """What it needs."""
    settings: ClassVar[str]
    """How its workers are started, for the documentation."""
    ready: ClassVar[str] = "handlers ready"

    # What to ask its tables. Each has the steady tasks only.
    completions_query: ClassVar[str]
    """Rows (tenth of a second, n), since the parameter ``since``."""
    unfinished_query: ClassVar[str]
    """One row (n): tasks that wait or run."""
    completed_query: ClassVar[str]
    """Rows (id, n): how often it has each task as completed."""

    def __init__(self) -> None:
        self.folder: Path | None = None
        self.tally: Tally | None = None
        self._left: tuple[int, float] | None = None

    @abstractmethod
    def prepare(self, dsn: str) -> None:
        """Make its tables in an empty database."""

    @abstractmethod
    def worker(self, shape: Shape, size: Size) -> Command:
        """How to start a worker."""

    @abstractmethod
    def inserter(self, dsn: str) -> Inserter:
        """What the producer inserts with."""

    @classmethod
    def missing(cls) -> str | None:
        """Return why it cannot take part; None when it can."""
        for package in cls.packages:
            if importlib.util.find_spec(package) is None:
                return f"the package {package} is not installed"
        return None

    def producer(self, shape: Shape) -> Command:
        waiting = shape.workers * shape.concurrency * WAITING_PER_SLOT
        return Command(module="chaos.peers.producer", arguments=(self.name, str(waiting)))

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        rows = books.execute(self.completions_query.encode(), {"since": since})
        return {row["tenth"]: row["n"] for row in rows}

    def unfinished(self, books: Connection) -> int:
        """How many tasks are still to run; 0 too when that number has not changed for QUIET_SECONDS."""
        row = books.execute(self.unfinished_query.encode()).fetchone()
        assert row is not None
        left, now = int(row["n"]), time.monotonic()
        if self._left is None or self._left[0] != left:
            self._left = left, now
        return 0 if now - self._left[1] > QUIET_SECONDS else left

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        assert self.folder is not None
        completed = {row["id"]: row["n"] for row in books.execute(self.completed_query.encode())}
        self.tally = tally = count(acknowledged, completed_runs(self.folder), completed)
        return Verdict(lost=tally.lost + tally.left_open, duplicated=tally.completed_twice)


def count(acknowledged: Mapping[int, str], runs: Mapping[int, int], completed: Mapping[int, int]) -> Tally:
    """Count what went wrong. An insert that was not acknowledged may be there or not; twice it may not run either."""
    return Tally(
        lost=sum(1 for task in acknowledged if not runs.get(task)),
        left_open=sum(1 for task in acknowledged if runs.get(task) and not completed.get(task)),
        ran_twice=sum(1 for n in runs.values() if n > 1),
        completed_twice=sum(1 for n in completed.values() if n > 1),
    )
