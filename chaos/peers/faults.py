"""The faults that every queue goes through: injected as pgsched's own trials do it, for a shorter time.

Each ends with its last blow, so that the recovery counts from there.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import cast

from chaos.faults.kills import Sigkill
from chaos.faults.model import Fault, Shape, Size
from chaos.faults.own_server import FAST, IMMEDIATE
from chaos.faults.server import TERMINATE_SOME, ServerRestarts, Terminations
from chaos.faults.trial import FAULTS_OF_PGSCHED, Trial
from chaos.peers.contender import Contender

KILLS, RESTARTS, TERMINATIONS = 15, 5, 24


class _ForAll(Fault):
    """What only pgsched is held to is left out: other queues may end when they lose the database, and be started
    again by a supervisor, which here does so within a tenth of a second."""

    ends_workers = True

    def shape(self, size: Size) -> Shape:
        return Shape()

    def set_up(self, trial: Trial) -> None:
        cast(Contender, trial.system).folder = trial.folder
        trial.tolerated = FAULTS_OF_PGSCHED

    def check(self, trial: Trial) -> Iterable[str]:
        return ()


class Kills(_ForAll, Sigkill):
    does = f"a random worker gets SIGKILL and another takes its place, {KILLS} times, about a second apart"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        for number in range(KILLS):
            if number:
                trial.pause(chance.uniform(0.5, 1.5))
            self._kill_one(trial, chance)
        return KILLS


class Restarts(_ForAll, ServerRestarts):
    does = f"PostgreSQL is restarted {RESTARTS} times, some seconds apart: as a crash and in order, in turns"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        for number in range(RESTARTS):
            if number:
                trial.pause(chance.uniform(1.0, 4.0))
            trial.server.end((IMMEDIATE, FAST)[number % 2])
            trial.server.start()
        return RESTARTS


class Ends(_ForAll, Terminations):
    does = f"`pg_terminate_backend` for half of the sessions, twice a second, {TERMINATIONS} times"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        ended = 0
        with trial.books() as books:
            for number in range(TERMINATIONS):
                if number:
                    trial.pause(0.5)
                ended += len(books.execute(TERMINATE_SOME, (str(chance.random()),)).fetchall())
        return ended


_ALL: tuple[type[_ForAll], ...] = (Kills, Restarts, Ends)
FAULTS: dict[str, type[Fault]] = {fault.name: fault for fault in _ALL}
