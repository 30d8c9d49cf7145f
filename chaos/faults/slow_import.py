"""Workers whose app takes long to import: a rolling restart, and SIGTERM meanwhile."""

from __future__ import annotations

import random
import signal
import time
import urllib.error
import urllib.request
from collections.abc import Iterable

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from chaos.loopback import free_port

SECONDS = "CHAOS_IMPORT_SECONDS"
"""The environment variable that chaos.load.slow_import reads, whose import must not delay this process."""
END_SECONDS = 5.0
"""How long a worker may take to end that gets SIGTERM while it imports; on a busy machine."""


class SlowImport(Fault):
    """One worker after the other is replaced by one that imports for a minute."""

    name = "slow-import"
    does = (
        "The import of the app takes 60 seconds. Workers are replaced one by one: one that imports has no lease and is "
        "not ready, and one that gets SIGTERM meanwhile ends at once."
    )
    injects = "starts"
    in_tests = False

    def __init__(self) -> None:
        self._wrong: list[str] = []

    def shape(self, size: Size) -> Shape:
        return Shape(app="chaos.load.slow_import:app", workers=2)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        seconds = 3.0 if trial.size.short else 60.0
        trial.environment[SECONDS] = f"{seconds:g}"
        usual = trial.crew.command.arguments
        first = chance.randrange(trial.crew.count)
        # One that is not to start: SIGTERM while it imports.
        self._replace(trial, first, "", usual)
        trial.pause(seconds / 3)
        self._end_importing(trial, first)
        for place in sorted(range(trial.crew.count), key=lambda one: one != first):
            port = free_port()
            self._replace(trial, place, str(port), usual)
            began = time.monotonic()
            while not trial.crew.is_ready(place) and time.monotonic() - began < seconds + 60:
                ready, listed = _ready(port), self._listed(trial, trial.crew.workers[place].pid)
                if (ready or listed) and time.monotonic() - began < seconds:  # its import cannot be over
                    self._wrong.append(f"a worker that imports is {'ready' if ready else 'listed'}")
                trial.pause(0.2)
            if time.monotonic() - began < seconds:
                self._wrong.append("the import was not slow: the fault did not strike")
            trial.crew.wait_until_ready(timeout=30)
        trial.fault_ended_at = time.time()
        return trial.crew.count + 1

    def _replace(self, trial: Trial, place: int, port: str, usual: tuple[str, ...]) -> None:
        worker = trial.crew.workers[place]
        if worker.returncode is None:
            worker.signal(signal.SIGTERM)
            worker.wait()
        trial.crew.command = type(trial.crew.command)(
            module="pgsched", arguments=(*usual, *(("--metrics-port", port) if port else ()))
        )
        trial.crew.replace(place)

    def _end_importing(self, trial: Trial, place: int) -> None:
        worker = trial.crew.workers[place]
        worker.wait_for_output("importing")
        worker.signal(signal.SIGTERM)
        began = time.monotonic()
        try:
            worker.wait(timeout=END_SECONDS)
        except AssertionError:
            self._wrong.append(f"a worker that imports did not end within {END_SECONDS:g} s of SIGTERM")
            worker.kill()
        print(f"  ended {time.monotonic() - began:.1f} s after SIGTERM, code {worker.returncode}", flush=True)
        if self._listed(trial, worker.pid):
            self._wrong.append("a worker that ended while it imported is listed")

    def _listed(self, trial: Trial, pid: int) -> bool:
        with trial.books() as books:
            rows = books.execute("select from pgsched.workers where pid = %s", (pid,)).fetchall()
        return bool(rows)

    def check(self, trial: Trial) -> Iterable[str]:
        return sorted(set(self._wrong))


def _ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
