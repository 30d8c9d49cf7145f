"""The disk of the server is full, again and again."""

from __future__ import annotations

import contextlib
import os
import random
import time
from collections.abc import Iterable, Iterator

import psycopg

from chaos.faults.model import Fault
from chaos.faults.small_disk import FULL, MIB, SmallDisk, no_mounts
from chaos.faults.trial import Trial

DISK_MIB, LARGER_MIB = 200, 600
SLOT = "pgsched_chaos"
LEASED = "select id, fencing_token from pgsched.tasks where locked_by is not null"
OUTCOME_SECONDS = 15.0
"""Within this time after the disk has room again, every outcome that waited must be written."""


class DiskFull(Fault):
    name = "disk-full"
    does = (
        "Data, WAL and the server's log are on a file system of 200 MB, which fills up six times: with rows and their "
        "history beside a ballast file, with WAL that a replication slot retains, with the server's log. It stays full "
        "for up to 15 seconds, gets room again, and the server is started if it has ended."
    )
    injects = "times full"
    own_server = True
    server_settings = {  # noqa: RUF012
        "fsync": "on",
        "wal_level": "replica",
        "max_wal_senders": "2",
        "min_wal_size": "32MB",
        "max_wal_size": "48MB",
        "shared_buffers": "32MB",
        "checkpoint_timeout": "30s",
        "logging_collector": "on",
        "log_filename": "server.log",
        "log_rotation_size": "0",
    }

    def __init__(self) -> None:
        self._disk: SmallDisk | None = None
        self._ended = 0
        """How often the server ended by itself."""
        self._full_seconds = 0.0
        self._met_before = 0
        self._log_outside = ""
        self._own_errors: list[str] = []
        """What the server said to the session that filled the disk with WAL."""
        self._outcome_seconds = 0.0
        self._outcomes_left = 0
        self._ways: list[str] = []

    def missing(self) -> str | None:
        return no_mounts()

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        # Outside of the disk, so that it can tell of it; only _by_log lets the server write into its data.
        log = trial.server.folder / "log"
        log.mkdir()
        os.chown(log, *trial.server.user)
        self._log_outside = f"log_directory = '{log}'"
        self._log(trial, self._log_outside)  # not on the command line, which outranks later changes
        self._disk = SmallDisk(trial.server, mib=DISK_MIB)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        ways = [chance.choice(("ballast", "wal"))] if trial.size.short else ["ballast", "wal", "log"] * 2
        chance.shuffle(ways)
        for way in ways:
            if self._ways:
                trial.pause(0.3 if trial.size.short else chance.uniform(3.0, 6.0))
            began, self._met_before = time.monotonic(), self._met(trial)
            {"ballast": self._by_rows, "wal": self._by_wal, "log": self._by_log}[way](trial, chance)
            self._full_seconds += time.monotonic() - began
            self._ways.append(way)
        trial.fault_ended_at = time.time()
        self._wait_for_outcomes(trial)
        return len(ways)

    def _wait_for_outcomes(self, trial: Trial) -> None:
        """Measure how long it takes until what ran while the disk was full is written."""
        began = time.monotonic()
        with trial.books() as books:
            left = {(row["id"], row["fencing_token"]) for row in books.execute(LEASED)}
            while left and time.monotonic() - began < OUTCOME_SECONDS:
                trial.pause(0.1)
                left &= {(row["id"], row["fencing_token"]) for row in books.execute(LEASED)}
        self._outcome_seconds = time.monotonic() - began
        self._outcomes_left = len(left)

    def _by_rows(self, trial: Trial, chance: random.Random) -> None:
        """Rows and history fill what a ballast file has left."""
        disk = self._of(trial)
        disk.fill(leave=chance.randrange(0, MIB))
        self._stay(trial, chance)
        disk.make_room()

    def _by_wal(self, trial: Trial, chance: random.Random) -> None:
        """A replication slot that nobody reads retains the WAL. The room is that of a larger disk, as in a cloud."""
        disk = self._of(trial)
        with self._noting_errors(), trial.books() as books:
            books.execute("select pg_create_physical_replication_slot(%s, true)", (SLOT,))
            disk.fill(leave=(24 if trial.size.short else 64) * MIB)
            while True:
                books.execute("select pg_logical_emit_message(false, 'chaos', repeat('x', 1000000))")
        self._stay(trial, chance)
        disk.make_room(LARGER_MIB)
        with trial.books() as books:
            books.execute("select pg_drop_replication_slot(%s)", (SLOT,))
            books.execute("checkpoint")
            while not disk.resize():
                books.execute("select pg_switch_wal()")
                books.execute("checkpoint")
                trial.pause(0.1)

    def _by_log(self, trial: Trial, chance: random.Random) -> None:
        """The server's log fills what a ballast file has left."""
        assert trial.server is not None
        disk = self._of(trial)
        self._log(trial, "log_directory = 'log'", "log_statement = 'all'")
        disk.fill(leave=2 * MIB)
        self._stay(trial, chance)
        (trial.server.data / "log" / "server.log").unlink(missing_ok=True)
        disk.make_room()
        self._log(trial, self._log_outside, "log_statement = 'none'")
        (trial.server.data / "log" / "server.log").unlink(missing_ok=True)

    def _log(self, trial: Trial, *settings: str) -> None:
        with trial.books() as books:
            for setting in settings:
                books.execute(f"alter system set {setting}")  # type: ignore[arg-type]
            books.execute("select pg_reload_conf()")

    @contextlib.contextmanager
    def _noting_errors(self) -> Iterator[None]:
        try:
            yield
        except psycopg.Error as error:
            self._own_errors.append(str(error))

    def _stay(self, trial: Trial, chance: random.Random) -> None:
        """Keep it full until somebody has met that, and then for a while."""
        assert trial.server is not None
        pid = trial.server.postmaster
        deadline = time.monotonic() + 60
        while self._met(trial) <= self._met_before and time.monotonic() < deadline:
            trial.pause(0.1)
        trial.pause(chance.uniform(0.8, 1.2) if trial.size.short else chance.uniform(2.0, 15.0))
        if not _is_up(trial, pid):
            self._ended += 1

    def _met(self, trial: Trial) -> int:
        disk = self._of(trial)
        disk.note()
        return len(disk.seen) + len(self._own_errors) + sum(text.count(FULL) for text in trial.crew.outputs().values())

    def _of(self, trial: Trial) -> SmallDisk:
        assert self._disk is not None
        return self._disk

    def tell(self) -> Iterable[str]:
        yield (
            f"The disk was full for {self._full_seconds:.0f} s in all, by {', '.join(self._ways)}; the server ended "
            f"{self._ended} times by itself; all outcomes of attempts that had run meanwhile were written "
            f"{self._outcome_seconds:.1f} s after it had room again"
        )

    def check(self, trial: Trial) -> Iterable[str]:
        disk = self._of(trial)
        disk.note()
        met = [*disk.seen, *(one for one in self._own_errors if FULL in one)] + [
            line for text in trial.crew.outputs().values() for line in text.splitlines() if FULL in line
        ]
        if not met:
            yield "neither the server nor a worker met a full disk: the fault did not strike"

        if self._outcomes_left:
            yield f"{self._outcomes_left} outcomes were not written within {OUTCOME_SECONDS:g} s of room"

    def tear_down(self, trial: Trial) -> None:
        if self._disk is not None:
            self._disk.close()


def _is_up(trial: Trial, pid: int) -> bool:
    try:
        return trial.server is not None and trial.server.postmaster == pid
    except (OSError, ValueError, IndexError):
        return False
