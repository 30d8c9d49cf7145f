"""The disk of the server becomes read-only under load."""

from __future__ import annotations

import contextlib
import random
import re
import time
from collections import Counter
from collections.abc import Iterable

import psycopg

from chaos.faults.crashes import kill_server
from chaos.faults.model import Fault
from chaos.faults.small_disk import ErringDisk, no_loops
from chaos.faults.trial import Trial, reachable

READ_ONLY = "Read-only file system"
_LINE = re.compile(rf"(ERROR|FATAL|PANIC|LOG):\s+(.*{READ_ONLY})")
_NAMES = re.compile(r"[\"\d][\w/.\"]*")


class DiskReadOnly(Fault):
    name = "disk-read-only"
    in_tests = False
    does = (
        "The file system of data and WAL becomes read-only under load, six times: an ext4 with errors=remount-ro meets "
        "an error. After up to ten seconds it is checked, mounted again, and the server started. A remount by an "
        "administrator is tried first; the kernel refuses it while the server has files open."
    )
    injects = "times read-only"
    own_server = True
    server_settings = {"fsync": "on", "checkpoint_timeout": "30s"}  # noqa: RUF012

    def __init__(self) -> None:
        self._disk: ErringDisk | None = None
        self._refusal: str | None = None
        self._said: Counter[str] = Counter()
        self._ended = 0
        self._wrong: list[str] = []

    def missing(self) -> str | None:
        return no_loops()

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        self._disk = ErringDisk(trial.server, mib=600)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        assert self._disk is not None
        self._refusal = self._disk.try_remount()
        if self._refusal is None:
            self._wrong.append("the kernel remounted a file system with open files: look at the trial again")
        rounds = 1 if trial.size.short else 6
        for number in range(rounds):
            if number:
                trial.pause(chance.uniform(3.0, 6.0))
            self._disk.err()
            if not self._disk.read_only:
                self._wrong.append("the error of ext4 did not make it read-only")
            trial.pause(1.0 if trial.size.short else chance.uniform(1.0, 10.0))
            self._look(trial)
            self._disk.mend()
        trial.fault_ended_at = time.time()
        return rounds

    def _look(self, trial: Trial) -> None:
        """Note what the server said and whether it ended; end it where it has not, as an administrator must."""
        assert trial.server is not None
        for found in _LINE.finditer(trial.server.said):
            self._said[f"{found[1]}: {_NAMES.sub('…', found[2])}"] += 1
        if not reachable(trial.dsn):
            self._ended += 1
        with contextlib.suppress(OSError, ValueError, IndexError, psycopg.Error):
            kill_server(trial.server)
        time.sleep(0.3)  # the kernel closes its files

    def tell(self) -> Iterable[str]:
        yield f"`mount -o remount,ro` under load: {self._refusal or 'done'}"
        said = "; ".join(f"{line} ({times} times)" for line, times in self._said.most_common(4))
        yield f"In {self._ended} cases the server had ended by itself. It said: {said}"

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        if not self._said:
            yield "the server did not meet a read-only file system: the fault did not strike"

    def tear_down(self, trial: Trial) -> None:
        if self._disk is not None:
            self._disk.close()
