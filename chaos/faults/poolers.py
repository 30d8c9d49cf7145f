"""PgBouncer between workers, producer and server: administered by its console, or ended and started again.

Every second worker uses a pool in session mode, the others one in transaction mode.
"""

from __future__ import annotations

import contextlib
import itertools
import random
import re
import signal
import threading
import time
from collections.abc import Iterable, Mapping
from typing import ClassVar

import psycopg
from psycopg.conninfo import conninfo_to_dict

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.pgbouncer import PgBouncer, missing_pgbouncer
from chaos.faults.trial import Trial
from chaos.load.poolers_app import IDLE_SECONDS

LIMIT_SECONDS = 5.0
"""Maximum recovery time."""
ENDED = re.compile("closing because: (database configuration changed|close_needed)")
"""In PgBouncer's log: a session that it ended after `RECONNECT`."""
HELD = ("idles", "idles_plain", "prepares")


class BehindPooler(Fault):
    """What the trials share."""

    own_server = True
    server_settings: ClassVar[Mapping[str, str]] = {"max_connections": "200"}
    in_tests = False

    def shape(self, size: Size) -> Shape:
        return Shape(workers=2 if size.short else 4, app="chaos.load.poolers_app:app")

    def insert(self, trial: Trial) -> None:
        """Insert tasks that the first workers take."""
        for kind in HELD:
            trial.insert(kind, 2)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        injected = self.strike(trial, chance)
        trial.fault_ended_at = time.time()
        return injected

    def strike(self, trial: Trial, chance: random.Random) -> int:
        """Break things; returns how many times."""
        raise NotImplementedError

    def check(self, trial: Trial) -> Iterable[str]:
        limit = LIMIT_SECONDS if not trial.size.short else 2 * LIMIT_SECONDS  # beside other tests
        if trial.recovery is not None and trial.recovery > limit:
            yield f"the throughput was back after {trial.recovery:.1f} s, and not within {limit:g} s"


class BehindPgBouncer(BehindPooler):
    """PgBouncer with the settings of docs/operations.md."""

    def __init__(self) -> None:
        self.poolers: list[PgBouncer] = []

    def missing(self) -> str | None:
        return missing_pgbouncer()

    def set_up(self, trial: Trial) -> None:
        settings = {
            "idle_transaction_timeout": f"{IDLE_SECONDS / 2:g}",
            "log_disconnections": "1",
        }
        for mode, sessions in (("session", 100), ("transaction", 12)):
            self.poolers.append(PgBouncer(trial.dsn, size=sessions, mode=mode, settings=settings))
        turns = itertools.cycle(pooler.dsn for pooler in self.poolers)
        trial.crew.dsn = lambda: next(turns)
        trial.producer_dsn = self.poolers[1].dsn
        trial.environment["PGSCHED_LISTEN_DSN"] = self.poolers[0].dsn
        self.insert(trial)

    def tear_down(self, trial: Trial) -> None:
        for pooler in self.poolers:
            pooler.close()


class PgBouncerPause(BehindPgBouncer):
    name = "pgbouncer-pause"
    does = (
        "PgBouncer, in session and in transaction mode, gets `PAUSE`, and `RESUME` after longer than a lease. "
        "Meanwhile a query through it gets no answer."
    )
    injects = "pauses"

    def __init__(self) -> None:
        super().__init__()
        self._answered = 0

    def strike(self, trial: Trial, chance: random.Random) -> int:
        pauses = 1 if trial.size.short else 5
        for number in range(pauses):
            if number:
                trial.pause(chance.uniform(1.0, 3.0))
            for pooler in self.poolers:
                # PAUSE is answered when every session is free: in session mode when its client has left.
                threading.Thread(target=_command, args=(pooler, "PAUSE"), daemon=True).start()
            seconds = trial.size.lease * chance.uniform(1.5, 3.0)
            trial.pause(0.5)
            self._answered += _answers(self.poolers[1])
            trial.pause(max(seconds - 1.5, 0.0))
            for pooler in self.poolers:
                pooler.command("RESUME")
        return pauses

    def check(self, trial: Trial) -> Iterable[str]:
        yield from super().check(trial)
        if self._answered:
            yield "a query was answered in a pause: the fault did not strike"


class PgBouncerReconnect(BehindPgBouncer):
    name = "pgbouncer-reconnect"
    does = (
        "PgBouncer, in session and in transaction mode, gets `RECONNECT` 20 times: it ends sessions once they are free."
    )
    injects = "reconnects"

    def strike(self, trial: Trial, chance: random.Random) -> int:
        reconnects = 4 if trial.size.short else 20
        for _ in range(reconnects):
            for pooler in self.poolers:
                pooler.command("RECONNECT")
            trial.pause(chance.uniform(0.1, 0.6))
        return reconnects

    def check(self, trial: Trial) -> Iterable[str]:
        yield from super().check(trial)
        if not ENDED.search(self.poolers[1].log):
            yield "PgBouncer ended no session: the fault did not strike"


class PgBouncerKill(BehindPgBouncer):
    name = "pgbouncer-kill"
    does = (
        "PgBouncer, in session and in transaction mode, gets `KILL`, which ends all connections and lets new ones "
        "wait until `RESUME`."
    )
    injects = "kills"
    in_tests = True

    def strike(self, trial: Trial, chance: random.Random) -> int:
        kills = 1 if trial.size.short else 5
        name = conninfo_to_dict(trial.dsn)["dbname"]
        for number in range(kills):
            if number:
                trial.pause(chance.uniform(1.0, 6.0))
            for pooler in self.poolers:
                pooler.command(f"KILL {name}")
            trial.pause(trial.size.lease if trial.size.short else chance.uniform(0.5, 12.0))
            for pooler in self.poolers:
                pooler.command(f"RESUME {name}")
        return kills

    def check(self, trial: Trial) -> Iterable[str]:
        yield from super().check(trial)
        if not any("database removed" in text for text in trial.crew.outputs().values()):
            yield "no worker lost a connection: the fault did not strike"


class PgBouncerRestart(BehindPgBouncer):
    name = "pgbouncer-restart"
    does = "PgBouncer, in session and in transaction mode, ends by SIGTERM or SIGKILL and is started again."
    injects = "restarts"

    def strike(self, trial: Trial, chance: random.Random) -> int:
        restarts = 2 if trial.size.short else 12
        for number in range(restarts):
            for pooler in self.poolers:
                pooler.kill((signal.SIGTERM, signal.SIGKILL)[number % 2])
            trial.pause(chance.uniform(0.1, 0.3 if trial.size.short else 3.0))
            for pooler in self.poolers:
                pooler.start()
            if number + 1 < restarts:
                trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 4.0))
        return restarts


def _command(pooler: PgBouncer, command: str) -> None:
    with contextlib.suppress(psycopg.Error):
        pooler.command(command)


def _answers(pooler: PgBouncer) -> bool:
    """Whether a query through it is answered within a second."""
    answered = threading.Event()

    def ask() -> None:
        with contextlib.suppress(psycopg.Error), psycopg.connect(pooler.dsn, connect_timeout=60) as connection:
            connection.execute("select 1")
            answered.set()

    threading.Thread(target=ask, daemon=True).start()
    return answered.wait(1.0)
