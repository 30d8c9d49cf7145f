"""A pooler in transaction mode between workers, producer and server."""

from __future__ import annotations

import random
import signal
from collections.abc import Iterable

from chaos.faults.model import Fault
from chaos.faults.pgbouncer import PgBouncer, missing_pgbouncer
from chaos.faults.server import TERMINATE_SOME
from chaos.faults.trial import Trial

POLLS = "polls_only"


class Pooler(Fault):
    name = "pooler"
    does = (
        "All connections use PgBouncer in transaction mode, which is killed and restarted, and whose sessions the "
        "server terminates; one worker listens through another DSN, one only polls."
    )
    injects = "kills and sessions"
    own_server = True

    def __init__(self) -> None:
        self._pooler: PgBouncer | None = None
        self._told = False

    def missing(self) -> str | None:
        return missing_pgbouncer()

    def set_up(self, trial: Trial) -> None:
        self._pooler = PgBouncer(trial.dsn)
        trial.worker_dsn = trial.producer_dsn = self._pooler.dsn
        trial.environment["PGSCHED_LISTEN_DSN"] = trial.dsn

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert self._pooler is not None
        self._told = any(POLLS in text for text in trial.crew.outputs().values())
        del trial.environment["PGSCHED_LISTEN_DSN"]
        place = chance.randrange(trial.crew.count)
        worker = trial.crew.workers[place]
        worker.signal(signal.SIGTERM)
        worker.wait()
        trial.crew.replace(place)
        trial.crew.wait_until_ready()  # a worker that cannot connect at its start ends, as it should
        injected = 0
        for _ in range(1 if trial.size.short else 6):
            self._pooler.kill()
            trial.pause(chance.uniform(0.1, 0.3 if trial.size.short else 1.5))
            self._pooler.start()
            trial.pause(0.3 if trial.size.short else 1.0)
            with trial.books() as books:
                injected += 1 + len(books.execute(TERMINATE_SOME, (str(chance.random()),)).fetchall())
            trial.pause(0.2 if trial.size.short else 1.0)
        return injected

    def check(self, trial: Trial) -> Iterable[str]:
        if self._told:
            yield "a worker with --listen-dsn only polls"
        if not any(POLLS in text for text in trial.crew.outputs().values()):
            yield "the worker without --listen-dsn does not say that it only polls"

    def tear_down(self, trial: Trial) -> None:
        if self._pooler is not None:
            self._pooler.close()
