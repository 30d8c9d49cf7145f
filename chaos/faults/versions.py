"""Workers of two releases side by side while the schema is migrated under their hands."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
from collections.abc import Iterable

from chaos.faults.model import Fault
from chaos.faults.trial import Trial
from pgsched.db.migrations.runner import migrate, program_version
from tests.upgrades.releases import RELEASES


class Migration(Fault):
    name = "migration"
    does = (
        "A database of the previous release is migrated to the newest schema while that release's workers run; one of "
        "them is restarted unchanged, then all are replaced one by one by workers of this version."
    )
    injects = "migrations and restarts"

    def __init__(self) -> None:
        self._release = RELEASES[-1]
        self._before = 0

    def set_up(self, trial: Trial) -> None:
        trial.environment.update(self._release.unpack(trial.folder / "release"))
        with trial.books() as books:
            books.execute("drop schema pgsched cascade")
        subprocess.run(
            [sys.executable, "-m", "pgsched", "migrate"],
            cwd=trial.folder / "release",
            env={**os.environ, **trial.environment, "PGSCHED_DSN": trial.dsn},
            check=True,
            capture_output=True,
        )
        self._before = _version(trial)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        applied = migrate(trial.dsn)
        trial.pause(0.5 if trial.size.short else 5.0)
        places = list(range(trial.crew.count))
        chance.shuffle(places)
        self._replace(trial, places[0])
        del trial.environment["PYTHONPATH"]
        for place in places:
            self._replace(trial, place)
            trial.pause(0.3 if trial.size.short else 4.0)
        return len(applied) + 1 + len(places)

    def _replace(self, trial: Trial, place: int) -> None:
        worker = trial.crew.workers[place]
        worker.signal(signal.SIGTERM)
        worker.wait()
        trial.crew.replace(place)
        trial.crew.wait_until_ready()

    def check(self, trial: Trial) -> Iterable[str]:
        if (self._before, _version(trial)) != (self._release.schema, program_version()):
            yield f"the schema went from version {self._before} to {_version(trial)}: nothing was migrated under load"


def _version(trial: Trial) -> int:
    with trial.books() as books:
        row = books.execute("select max(version) as version from pgsched.migrations").fetchone()
    assert row is not None
    return int(row["version"])
