"""Workers that are suspended for longer than their lease and then continue as if nothing had happened."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from chaos.fleet import holds_tasks

ROUNDS = 12
SHORT_STOPS = 3
"""The most stops of the short form."""


class Sigstop(Fault):
    """SIGSTOP past the lease, then SIGCONT."""

    name = "worker-sigstop"
    does = (
        "Workers (in every third round all of them) are suspended with SIGSTOP for longer than their lease, then "
        "continue."
    )
    injects = "stops"

    def __init__(self) -> None:
        self._hits = 0
        """Of workers that held tasks."""

    def shape(self, size: Size) -> Shape:
        return Shape() if size.short else Shape(workers=3)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        stops = 0
        if trial.size.short:
            # A worker that is stopped between two claims loses nothing: then another is stopped.
            for _ in range(SHORT_STOPS):
                stops += self._stop(trial, [chance.randrange(trial.crew.count)], trial.size.lease * 1.3)
                if self._hits:
                    break
            return stops
        for one in range(1, ROUNDS + 1):
            count = trial.crew.count if one % 3 == 0 else chance.randint(1, trial.crew.count - 1)
            places = chance.sample(range(trial.crew.count), count)
            stops += self._stop(trial, places, trial.size.lease * chance.uniform(1.1, 1.6))
            trial.pause(chance.uniform(0.0, 1.5))
        return stops

    def _stop(self, trial: Trial, places: list[int], seconds: float) -> int:
        workers = [trial.crew.workers[place] for place in places]
        for worker in workers:
            worker.signal(signal.SIGSTOP)
        try:
            with trial.books() as books:
                self._hits += sum(holds_tasks(books, worker.pid) for worker in workers)
            trial.pause(seconds)
        finally:
            for worker in workers:
                worker.signal(signal.SIGCONT)
        return len(workers)

    def check(self, trial: Trial) -> Iterable[str]:
        if not self._hits:
            yield "no lease expired: the trial shows nothing"
