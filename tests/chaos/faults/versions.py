"""Workers of two versions side by side while the schema is migrated under their hands."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterable

from pgsched.db.migrate import migrate, program_version
from tests.chaos.faults.model import Fault
from tests.chaos.faults.trial import Trial
from tests.processes import CHECKOUT


class Migration(Fault):
    name = "migration"
    does = (
        "the latest migration is applied while workers of the version before it run, then these are replaced one by "
        "one by workers of this version"
    )
    injects = "migrations and restarts"

    def __init__(self) -> None:
        self._before = 0

    def set_up(self, trial: Trial) -> None:
        older = trial.folder / "older"
        for name in ("pgsched", "sql"):
            shutil.copytree(CHECKOUT / name, older / name, ignore=shutil.ignore_patterns("__pycache__"))
        latest = sorted((older / "sql" / "migrations").glob("*.sql"))[-1]
        latest.unlink()
        with trial.books() as books:
            books.execute("drop schema pgsched cascade")
        path = os.pathsep.join([str(older), str(CHECKOUT)])
        subprocess.run(
            [sys.executable, "-m", "pgsched", "migrate"],
            cwd=older,
            env={**os.environ, "PYTHONPATH": path, "PGSCHED_DSN": trial.dsn},
            check=True,
            capture_output=True,
        )
        trial.environment["PYTHONPATH"] = path
        self._before = _version(trial)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        migrate(trial.dsn)
        trial.pause(0.5 if trial.size.short else 5.0)
        del trial.environment["PYTHONPATH"]
        places = list(range(trial.crew.count))
        chance.shuffle(places)
        for place in places:
            worker = trial.crew.workers[place]
            worker.signal(signal.SIGTERM)
            worker.wait()
            trial.crew.replace(place)
            trial.crew.wait_until_ready()
            trial.pause(0.3 if trial.size.short else 4.0)
        return 1 + len(places)

    def check(self, trial: Trial) -> Iterable[str]:
        if (self._before, _version(trial)) != (program_version() - 1, program_version()):
            yield f"the schema went from version {self._before} to {_version(trial)}: nothing was migrated under load"


def _version(trial: Trial) -> int:
    with trial.books() as books:
        row = books.execute("select max(version) as version from pgsched.migrations").fetchone()
    assert row is not None
    return int(row["version"])
