"""A suspended machine: everything stops, and when it goes on, an hour has passed by the clocks on the wall."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from unittest import mock

from chaos.faults.model import Fault, Shape, Size, Verdict
from chaos.faults.own_server import FAST, OwnServer
from chaos.faults.system import Command, Connection, Pgsched
from chaos.faults.trial import Trial
from chaos.invariants import SCHEDULES

HOUR = 3600
LIBRARIES = [*Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), *Path("/usr/lib/faketime").glob("libfaketime.so.1")]
EVERY_TICK = "every tick of a schedule has run or is noted as missed"
"""Of more than 1,000 missed ticks only so many are counted at a time."""


class _Later(Pgsched):
    """Reads the times that the database wrote after jumps of its clock as if it had not jumped."""

    def __init__(self) -> None:
        self.jumps: list[float] = []
        """The times of the jumps, by the true clock."""

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        done: dict[int, int] = {}
        for tenth, count in super().completions(books, since).items():
            true = tenth
            for number, at in enumerate(self.jumps, start=1):
                if tenth - 10 * HOUR * number >= at * 10 - 10:
                    true = tenth - 10 * HOUR * number
            if true >= since * 10:
                done[true] = done.get(true, 0) + count
        return done

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        with mock.patch.dict(SCHEDULES):
            del SCHEDULES[EVERY_TICK]
            return super().verdict(books, acknowledged)


class Suspension(Fault):
    """SIGSTOP of server, workers and producer; the clocks on the wall go on, the monotonic ones do not.

    Leases end by the database's clock, so all have expired when the machine goes on; a worker believes in its leases by
    its monotonic clock until the next heartbeat, and is fenced when another was faster.
    """

    name = "laptop-suspended"
    does = (
        "Server, workers and producer are stopped with SIGSTOP, the clocks of the server and of the workers are set an "
        "hour ahead, and all continue, as on a laptop that was suspended."
    )
    injects = "suspensions"
    own_server = True
    in_tests = False

    def __init__(self) -> None:
        self._system = _Later()
        self._lost = self._across = 0

    def missing(self) -> str | None:
        return None if LIBRARIES else "libfaketime is not installed (Debian: apt-get install faketime)"

    def shape(self, size: Size) -> Shape:
        return Shape(workers=2 if size.short else 3)

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        self._set(trial, 0)
        trial.server.end(FAST)
        faked = {
            "LD_PRELOAD": str(LIBRARIES[0]),
            "FAKETIME_TIMESTAMP_FILE": str(trial.server.folder / "clock"),
            "FAKETIME_NO_CACHE": "1",
            "DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        with mock.patch.dict(os.environ, faked):
            trial.server.start()
        trial.system = self._system
        trial.crew.command = Command(module="chaos.load.late_clock", arguments=trial.crew.command.arguments)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        suspensions = 1 if trial.size.short else 6
        for number in range(1, suspensions + 1):
            stopped = [*_running(trial), *_tree(trial.server)]
            for pid in stopped:
                os.kill(pid, signal.SIGSTOP)
            try:
                time.sleep(0.2 if trial.size.short else chance.uniform(0.2, 2.0))
                self._set(trial, number * HOUR)
                self._system.jumps.append(time.time())
            finally:
                for pid in reversed(stopped):  # the server first
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            if number < suspensions:
                trial.pause(chance.uniform(2.0, 5.0))
        return suspensions

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books:
            row = books.execute(
                """
                select extract(epoch from clock_timestamp())::float8 as clock,
                  count(*) filter (where status = 'lost')::int as lost,
                  count(*) filter (where finished_at - started_at > interval '30 minutes')::int as across
                from pgsched.executions
                """
            ).fetchone()
        assert row is not None
        self._lost, self._across = row["lost"], row["across"]
        if row["clock"] - time.time() < len(self._system.jumps) * HOUR - 60:
            yield "the server's clock was not set: the fault did not strike"
        if not self._across and not trial.size.short:
            yield "no task ran when the machine was suspended: the trial shows nothing"

    def tell(self) -> Iterable[str]:
        yield f"{self._across} attempts ran across a suspension; {self._lost} were lost with their leases."

    def _set(self, trial: Trial, offset: int) -> None:
        """Set the clocks of the server and of the workers."""
        assert trial.server is not None
        for path, text in ((trial.server.folder / "clock", f"{offset:+d}\n"), (trial.folder / "clock", str(offset))):
            part = path.with_suffix(".new")
            part.write_text(text)
            part.chmod(0o644)
            part.replace(path)


def _running(trial: Trial) -> list[int]:
    """The pids of workers and producer."""
    assert trial.producer is not None
    return [process.pid for process in (trial.producer, *trial.crew.workers) if process.returncode is None]


def _tree(server: OwnServer) -> list[int]:
    """The pids of the server, its first process first: it starts no others meanwhile."""
    found = [server.postmaster]
    os.kill(server.postmaster, signal.SIGSTOP)
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            if int(path.read_text().rpartition(")")[2].split()[1]) == server.postmaster:
                found.append(int(path.parent.name))
    return found
