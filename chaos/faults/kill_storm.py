"""Workers that are killed all the time, also by their own tasks, while they have locked rows."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from chaos.load.misbehaviour import KILLS

EVERY_SECONDS = 0.2
BRIEF = 60
"""Short tasks per kill: enough for workers to lock rows."""
POISON_EVERY = 5
"""Each fifth time one of them kills its worker."""
MAX_ATTEMPTS = 3
STORM_KILLS, SHORT_KILLS = 150, 10


class KillStorm(Fault):
    """SIGKILL of a worker every 200 ms, with handlers that end within the grace and tasks that kill their worker."""

    name = "worker-sigkill-storm"
    does = (
        "Every 200 ms a busy worker gets SIGKILL and is replaced, while short handlers run on rows that are only"
        " locked. Some of these tasks kill their worker: each must be dead after at most"
        f" `max_attempts` + 1 = {MAX_ATTEMPTS + 1} kills."
    )
    injects = "kills"
    ends_workers = True

    def __init__(self) -> None:
        self._poison: list[int] = []
        self._kills: Counter[int] = Counter()
        """Of their workers, by the tasks that did it."""
        self._counted = 0
        """Attempts of these tasks that were counted."""

    def shape(self, size: Size) -> Shape:
        return Shape() if size.short else Shape(workers=4)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        tasks: list[int] = []
        for kill in range(SHORT_KILLS if trial.size.short else STORM_KILLS):
            due = time.monotonic() + EVERY_SECONDS
            before = chance.randrange(BRIEF)
            tasks += trial.insert("brief", before + 1)
            if kill % POISON_EVERY == 0:
                self._poison += self._insert_poison(trial)
            tasks += trial.insert("brief", BRIEF - before)
            trial.pause(due - time.monotonic())
            while not (ready := [place for place in range(trial.crew.count) if trial.crew.is_ready(place)]):
                trial.pause(EVERY_SECONDS)  # where the machine is slow, all may be starting
            place = chance.choice(ready)
            trial.crew.kill(place)
            trial.crew.replace(place)
        trial.wait_until_ended([*tasks, *self._poison], timeout=120)
        return kill + 1

    def _insert_poison(self, trial: Trial) -> list[int]:
        with trial.books() as books:
            row = books.execute(
                "insert into pgsched.tasks (task_type, max_attempts) values ('kills', %s) returning id", (MAX_ATTEMPTS,)
            ).fetchone()
        assert row is not None
        trial.expect([row["id"]], "dead")
        return [row["id"]]

    def check(self, trial: Trial) -> Iterable[str]:
        self._kills = kills_in(trial.folder)
        with trial.books() as books:
            rows = books.execute(
                "select id, status, attempts from pgsched.tasks where id = any(%s)", (self._poison,)
            ).fetchall()
        self._counted = sum(row["attempts"] for row in rows)
        if not self._kills:
            yield "no task killed its worker: the trial shows nothing"
        yield from too_often(self._kills, MAX_ATTEMPTS)

    def tell(self) -> Iterable[str]:
        yield (
            f"{len(self._poison)} tasks killed their workers {self._kills.total()} times, each"
            f" at most {max(self._kills.values(), default=0)} times; {self._counted} of their attempts counted."
        )


def kills_in(folder: Path) -> Counter[int]:
    """How often each task killed its worker: a line for each time."""
    path = folder / KILLS
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()


def too_often(kills: Counter[int], max_attempts: int) -> Sequence[str]:
    """Those that killed more workers than they may: one for each attempt, and one that went uncounted."""
    return [
        f"task {task_id} killed {number} workers, with max_attempts {max_attempts}"
        for task_id, number in sorted(kills.items())
        if number > max_attempts + 1
    ]
