"""What a failover with asynchronous replication may take away: what the old primary acknowledged and the new one lacks.

Nothing that was acknowledged outside the windows of the failovers may be gone, and the surviving timeline must satisfy
every invariant on its own. ``synchronous`` systems have no window: whatever is gone is lost.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from chaos.faults.model import Verdict
from chaos.faults.system import Connection, Pgsched
from chaos.load.noted import ENDED, RECORDED

KEYS = "acknowledged-keys"


class Window(NamedTuple):
    """A time in which acknowledged commits may be lost, by ``time.time()``."""

    start: float
    end: float


class Insert(NamedTuple):
    """An insert that was acknowledged."""

    id: int
    at: float
    key: str


class Outcome(NamedTuple):
    """An outcome that was acknowledged to a worker, or the end of a handler."""

    id: int
    result: str
    at: float


@dataclass(frozen=True, kw_only=True)
class Gone:
    """What was acknowledged and is not there."""

    inserts: Sequence[Insert]
    outcomes: Sequence[Outcome]
    inserted: int
    recorded: int
    """How many of both were acknowledged."""
    reused: int
    """Ids of lost tasks that other tasks have now."""
    again: int
    """Tasks whose handler ran to its end more than once."""

    def outside(self, windows: Sequence[Window]) -> list[str]:
        """What lies outside every window, a line each."""
        wrong = []
        for what, times in self._times().items():
            late = [at for at in times if not any(start <= at <= end for start, end in windows)]
            if late:
                wrong.append(f"{len(late)} of {len(times)} {what} that are gone were acknowledged outside every window")
        return wrong

    def distances(self, faults: Sequence[float]) -> list[float]:
        """Seconds from the nearest fault to each acknowledgement that is gone: negative when it came before."""
        times = [at for some in self._times().values() for at in some]
        return sorted(min((at - fault for fault in faults), key=abs) for at in times) if faults else []

    def _times(self) -> Mapping[str, list[float]]:
        return {"inserts": [one.at for one in self.inserts], "outcomes": [one.at for one in self.outcomes]}


class Surviving(Pgsched):
    """pgsched after failovers: also judged by what producers and workers noted."""

    def __init__(self, folder: Path, windows: Callable[[], Sequence[Window]]) -> None:
        """``windows``: in which acknowledged commits may be gone; none when replication is synchronous."""
        self._folder = folder
        self._windows = windows
        self.gone: Gone | None = None
        """What :meth:`verdict` found."""

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        self.gone = gone = find_gone(books, self._folder)
        lost = {one.id for one in gone.inserts}
        others = {task_id: status for task_id, status in acknowledged.items() if task_id not in lost}
        # What is gone within a window is not lost; the id may be that of another task meanwhile.
        verdict = super().verdict(books, others)
        windows = self._windows()
        beyond = sum(not any(start <= one.at <= end for start, end in windows) for one in gone.inserts)
        broken = [*verdict.broken, *gone.outside(windows)]
        return Verdict(lost=verdict.lost + beyond, duplicated=verdict.duplicated, broken=broken)


def find_gone(books: Connection, folder: Path) -> Gone:
    """Compare the notes of producers and workers with the database."""
    inserts = [Insert(int(a), float(b), c) for a, b, c in _lines(folder / KEYS)]
    recorded = [Outcome(int(a), b, float(c)) for a, b, c in _lines(folder / RECORDED)]
    ended = [Outcome(int(a), b, float(c)) for a, b, c in _lines(folder / ENDED)]
    keys = {row["id"]: row["key"] for row in books.execute("select id, idempotency_key as key from pgsched.tasks")}
    results = {
        (row["id"], row["result"])
        for row in books.execute("select id, result #>> '{}' as result from pgsched.tasks where result is not null")
    }
    gone = [one for one in inserts if keys.get(one.id) != one.key]
    times: dict[int, int] = {}
    for one in ended:
        times[one.id] = times.get(one.id, 0) + 1
    return Gone(
        inserts=gone,
        outcomes=[one for one in recorded if (one.id, one.result) not in results],
        inserted=len(inserts),
        recorded=len(recorded),
        reused=sum(one.id in keys for one in gone),
        again=sum(count > 1 for count in times.values()),
    )


def _lines(path: Path) -> list[tuple[str, str, str]]:
    if not path.exists():
        return []
    lines = path.read_text().splitlines()
    return [(first, second, third) for first, second, third in (line.split(" ", 2) for line in lines)]
