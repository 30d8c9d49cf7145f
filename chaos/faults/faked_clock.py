"""A PostgreSQL whose clock the trial sets, by libfaketime; and books that do not rely on that clock."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from unittest import mock

import psycopg

from chaos.faults.model import Verdict
from chaos.faults.own_server import FAST, OwnServer
from chaos.faults.system import Connection, Pgsched, verdict_of
from chaos.invariants import ALWAYS, AT_THE_END, EFFECTS, SCHEDULES
from tests.support.waiting import wait_until

LIBRARIES = tuple(
    Path(folder) / "faketime" / "libfaketime.so.1"
    for folder in ("/usr/lib/x86_64-linux-gnu", "/usr/lib/aarch64-linux-gnu", "/usr/local/lib", "/usr/lib")
)
SAMPLE_SECONDS = 0.05
BY_THE_CLOCK = (
    "an attempt with a later token begins after the one before it has ended",
    "no execution ends before it begins, or in the future",
)
"""Rules that compare times of one clock: they cannot hold where somebody has set it back."""
COUNTED_TO_A_LIMIT = "every tick of a schedule has run or is noted as missed"
"""Missed ticks are counted up to 1,000 at a time: more are missed where the clock leaps by a day."""


def library() -> Path | None:
    """Where libfaketime is; None where it is not installed."""
    return next((path for path in LIBRARIES if path.exists()), None)


class FakedClock:
    """The clock of a server of the trial's own: all of its processes read it, for each time that they ask."""

    def __init__(self, server: OwnServer) -> None:
        self._server = server
        self._file = server.folder / "clock"
        self.offset = 0.0
        """Seconds that it is ahead of the true time; what waits by the monotonic clock is not affected."""

    def install(self, offset: float = 0.0) -> None:
        """Start the server anew with a clock that can be set."""
        self._server.end(FAST)
        found = library()
        assert found is not None, "libfaketime is missing"
        self._write(offset)
        faked = {
            "LD_PRELOAD": str(found),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "DONT_FAKE_MONOTONIC": "1",
        }
        with mock.patch.dict(os.environ, faked):
            self._server.start()
        self.set(offset)

    def set(self, offset: float) -> None:
        """Set it to so many seconds ahead of the true time, and wait until the server shows it."""
        self._write(offset)
        with psycopg.connect(self._server.dsn, autocommit=True) as session:

            def shown() -> bool:
                row = session.execute("select extract(epoch from clock_timestamp())::float8").fetchone()
                return row is not None and abs(row[0] - time.time() - offset) < 1

            wait_until(shown, timeout=10, message=f"the server's clock is {offset:g} s ahead")

    def _write(self, offset: float) -> None:
        part = self._file.with_suffix(".new")
        part.write_text(f"{offset:+.3f}\n")
        part.chmod(0o644)
        part.replace(self._file)
        self.offset = offset


class FakedSystem(Pgsched):
    """pgsched, on a database whose clock is faked: a thread notes by the true time how many tasks were completed."""

    def __init__(self, dsn: str, *, without: tuple[str, ...]) -> None:
        """``without``: the rules that the faked clock itself breaks."""
        self._dsn = dsn
        self._without = without
        self._done: dict[int, int] = defaultdict(int)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="chaos sampler", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        self._over.set()
        self._thread.join(timeout=10)

    def completions(self, books: Connection, since: float) -> Mapping[int, int]:
        return {tenth: count for tenth, count in list(self._done.items()) if tenth >= since * 10 - 1}

    def verdict(self, books: Connection, acknowledged: Mapping[int, str]) -> Verdict:
        rules = ALWAYS | AT_THE_END | SCHEDULES | EFFECTS
        kept = {rule: statement for rule, statement in rules.items() if rule not in self._without}
        return verdict_of(books, kept, acknowledged)

    def _sample(self) -> None:
        before = 0
        with contextlib.suppress(psycopg.OperationalError), psycopg.connect(self._dsn, autocommit=True) as session:
            while not self._over.wait(SAMPLE_SECONDS):
                row = session.execute(
                    "select count(*) from pgsched.executions where status = 'completed'"
                    " and task_type in ('steady', 'steady_plain', 'entry')"
                ).fetchone()
                now = int(row[0]) if row else before
                self._done[int(time.time() * 10)] += now - before
                before = now


@contextlib.contextmanager
def session_of(dsn: str) -> Iterator[psycopg.Connection]:
    """A session in autocommit mode."""
    with psycopg.connect(dsn, autocommit=True) as session:
        yield session
