"""Work for a long time, with failures in it: memory and connections must not grow."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import median

from chaos.faults.handlers import misdeeds
from chaos.faults.model import Fault
from chaos.faults.trial import Trial
from pgsched.worker.locked_batches import SESSIONS as BATCHES
from pgsched.worker.worker import QUESTIONS

SECONDS, SHORT_SECONDS = 75.0, 2.0
SAMPLE_SECONDS = 0.5
MOST_GROWTH = 1.10
"""Of the last quarter's median to that of the second: the first is that of caches which fill."""
LEEWAY = 4 * 1024**2
"""Bytes that are no leak."""


class Soak(Fault):
    """Memory and connections stay flat."""

    name = "soak"
    does = (
        "No fault except that some tasks fail, exceed their timeout or are cancelled; the memory and connections of the"
        " workers must not grow."
    )
    injects = "failures"

    def __init__(self) -> None:
        self.memory: dict[int, list[int]] = {}
        """Bytes of each worker, by pid."""
        self.connections: dict[str, int] = {}
        """The most at once, by what they are for."""

    def inject(self, trial: Trial, chance: random.Random) -> int:
        kinds = [task for task in misdeeds(trial.size) if task[0] in ("raises", "raises_plain", "overstays")]
        ids: list[int] = []
        deadline = time.monotonic() + (SHORT_SECONDS if trial.size.short else SECONDS)
        while time.monotonic() < deadline:
            kind, payload, ends = chance.choice(kinds)
            text = json.dumps(payload)
            ids += trial.insert(kind, 5, payload=text, ends=ends)
            self._cancel(trial, trial.insert("waits", 3, ends="cancelled"))
            trial.pause(SAMPLE_SECONDS)
            self._sample(trial)
        trial.wait_until_ended(ids)
        return len(ids)

    def _cancel(self, trial: Trial, ids: list[int]) -> None:
        with trial.books() as books:
            books.execute("select pgsched.cancel(id) from unnest(%s::bigint[]) id", (ids,))

    def _sample(self, trial: Trial) -> None:
        for worker in trial.crew.workers:
            self.memory.setdefault(worker.pid, []).append(resident(worker.pid))
        with trial.books() as books:
            rows = books.execute(
                "select application_name as name, count(*) as n from pg_stat_activity"
                " where datname = current_database() and application_name like 'pgsched %' group by 1"
            ).fetchall()
        for row in rows:
            self.connections[row["name"]] = max(row["n"], self.connections.get(row["name"], 0))

    def check(self, trial: Trial) -> Iterable[str]:
        if not trial.size.short:  # a few seconds say nothing of memory
            yield from growth(self.memory)
        yield from surplus(self.connections, workers=trial.crew.count, transactions=trial.shape.transactions)


def surplus(connections: Mapping[str, int], *, workers: int, transactions: int) -> Iterable[str]:
    """Connections beyond what a worker is documented to have: the most at once, by what they are for."""
    several = {"pgsched handler": transactions, "pgsched flow": QUESTIONS, "pgsched lock": BATCHES}
    for name, most in connections.items():
        if most > workers * several.get(name, 1):
            yield f"{workers} workers had {most} connections {name!r}"


def growth(memory: Mapping[int, Sequence[int]]) -> Iterable[str]:
    """What grows: the samples of a worker's memory in bytes, by pid."""
    for pid, samples in memory.items():
        early, later = _early(samples), _later(samples)
        if later > early * MOST_GROWTH + LEEWAY:
            yield f"the memory of worker {pid} grows: from {early / 1e6:.0f} MB to {later / 1e6:.0f} MB"


def _early(samples: Sequence[int]) -> float:
    quarter = max(1, len(samples) // 4)
    return median(samples[quarter : 2 * quarter] or samples[:1])


def _later(samples: Sequence[int]) -> float:
    return median(samples[-max(1, len(samples) // 4) :])


def resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 once it has ended."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except FileNotFoundError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith("VmRSS:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
