"""All connections of a trial use Pgpool-II, and it ends again and again."""

from __future__ import annotations

import random
import signal

from chaos.faults.poolers import BehindPooler
from chaos.faults.trial import Trial
from chaos.pgpool import Pgpool, missing_pgpool

CHILDREN = 120


class PgpoolRestarts(BehindPooler):
    name = "pgpool"
    does = (
        "All connections use Pgpool-II, which ends by SIGINT or by SIGKILL of all its processes and is started again."
    )
    injects = "restarts"

    def __init__(self) -> None:
        self._pgpool: Pgpool | None = None

    def missing(self) -> str | None:
        return missing_pgpool()

    def set_up(self, trial: Trial) -> None:
        self._pgpool = Pgpool(trial.dsn, children=CHILDREN, settings={"connection_cache": "on", "max_pool": "1"})
        trial.worker_dsn = trial.producer_dsn = self._pgpool.dsn
        self.insert(trial)

    def strike(self, trial: Trial, chance: random.Random) -> int:
        assert self._pgpool is not None
        restarts = 2 if trial.size.short else 12
        for number in range(restarts):
            self._pgpool.kill((signal.SIGINT, signal.SIGKILL)[number % 2])
            trial.pause(chance.uniform(0.1, 0.3 if trial.size.short else 3.0))
            self._pgpool.start()
            if number + 1 < restarts:
                trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 4.0))
        return restarts

    def tear_down(self, trial: Trial) -> None:
        if self._pgpool is not None:
            self._pgpool.close()
