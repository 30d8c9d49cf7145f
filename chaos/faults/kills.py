"""Workers that are killed at random."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from chaos.fleet import holds_tasks

KILLS, TASKS = 200, 100_000
"""Minimum numbers of kills and of tasks in the long form."""
PACK = 4
"""Kills between two checks of the progress."""
SHORT_KILLS = 4


class Sigkill(Fault):
    """SIGKILL of random workers."""

    name = "worker-sigkill"
    does = "A random worker gets SIGKILL and is replaced, repeatedly."
    injects = "kills"

    def __init__(self) -> None:
        self._hits = 0
        """Of workers that held tasks."""

    def shape(self, size: Size) -> Shape:
        return Shape() if size.short else Shape(workers=4)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        if trial.size.short:
            for _ in range(SHORT_KILLS):
                self._kill_one(trial, chance)
                trial.pause(chance.uniform(0.1, 0.4))
            return SHORT_KILLS
        # By what is done, not by the clock: on a slow machine the workers would only be starting.
        kills, began = 0, time.time()
        while kills < KILLS:
            while trial.completed(began) * KILLS < (kills + PACK) * TASKS:
                trial.pause(0.2)
            for _ in range(PACK):
                self._kill_one(trial, chance)
                trial.pause(chance.uniform(0.0, 0.3))
            kills += PACK
        return kills

    def _kill_one(self, trial: Trial, chance: random.Random) -> None:
        """One that works; the youngest may still be starting, and its turn comes later."""
        ready = [place for place in range(trial.crew.count) if trial.crew.is_ready(place)]
        place = chance.choice(ready or list(range(trial.crew.count)))
        trial.crew.kill(place)
        with trial.books() as books:
            self._hits += holds_tasks(books, trial.crew.workers[place].pid)
        trial.crew.replace(place)

    def check(self, trial: Trial) -> Iterable[str]:
        if not self._hits:
            yield "no kill hit a running task: the trial shows nothing"
