"""The server goes away, ends sessions, or has no room for them."""

from __future__ import annotations

import contextlib
import random
import time
from urllib.parse import quote, urlencode

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from chaos.faults.model import Fault
from chaos.faults.own_server import FAST, IMMEDIATE
from chaos.faults.trial import Trial
from pgsched.db.migrations.runner import migrate

OURS = "datname = current_database() and pid <> pg_backend_pid() and backend_type = 'client backend'"
TERMINATE_SOME = f"""
select pg_terminate_backend(pid) from pg_stat_activity
where {OURS} and hashtext(pid::text || %s) %% 2 = 0
"""
TERMINATE_ALL = f"select pg_terminate_backend(pid) from pg_stat_activity where {OURS}"


class ServerStops(Fault):
    name = "server-stop"
    in_tests = False
    does = "PostgreSQL is stopped, and started again after 30 seconds."
    injects = "stops"
    own_server = True

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        trial.server.end(FAST)
        trial.pause(1.5 if trial.size.short else 30.0)
        trial.server.start()
        return 1


class ServerRestarts(Fault):
    name = "server-restarts"
    does = "PostgreSQL is restarted every few seconds for two minutes, cleanly or by a crash with recovery."
    injects = "restarts"
    own_server = True

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        deadline, restarts = time.monotonic() + (2.5 if trial.size.short else 120.0), 0
        while time.monotonic() < deadline or restarts < 2:
            # Each way of it once, whatever chance says afterwards.
            trial.server.end((IMMEDIATE, FAST)[restarts] if restarts < 2 else chance.choice((FAST, IMMEDIATE)))
            trial.server.start()
            restarts += 1
            trial.pause(chance.uniform(0.3, 0.8) if trial.size.short else chance.uniform(1.0, 5.0))
        return restarts


class Terminations(Fault):
    name = "terminations"
    does = "pg_terminate_backend ends half of all sessions, twice a second for a minute."
    injects = "sessions"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        ended = 0
        with trial.books() as books:
            for _ in range(4 if trial.size.short else 120):
                ended += len(books.execute(TERMINATE_SOME, (str(chance.random()),)).fetchall())
                trial.pause(0.5)
        return ended


class SlotsTaken(Fault):
    name = "connection-slots"
    does = (
        "Another program takes every connection slot for users, including those that pgsched's sessions have just "
        "released."
    )
    injects = "connections"
    own_server = True
    server_settings = {"max_connections": "40"}  # noqa: RUF012

    def set_up(self, trial: Trial) -> None:
        # Not as a superuser: for those some connections are reserved, and the books need one.
        with trial.books() as books:
            books.execute("drop schema pgsched cascade")
            books.execute("create role runner login")
            books.execute("grant create on database postgres to runner")
            books.execute("grant all on effects, ledger to runner")
        trial.worker_dsn = trial.producer_dsn = _as_user(trial.dsn, "runner")
        migrate(trial.worker_dsn)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        hog: list[psycopg.Connection] = []
        most = 0
        deadline = time.monotonic() + (2.0 if trial.size.short else 15.0)
        next_end = 0.0
        try:
            with trial.books() as books:
                while time.monotonic() < deadline:
                    with contextlib.suppress(psycopg.OperationalError):  # no room is left
                        while True:
                            hog.append(psycopg.connect(trial.worker_dsn, application_name="hog"))
                    most = max(most, len(hog))
                    if time.monotonic() >= next_end:
                        books.execute(TERMINATE_ALL + " and application_name <> 'hog'")
                        next_end = time.monotonic() + chance.uniform(0.3, 0.8)
                    trial.pause(0.02)
        finally:
            for connection in hog:
                connection.close()
        return most

    def check(self, trial: Trial) -> list[str]:
        if any(_words(errors.TooManyConnections) in text for text in trial.crew.outputs().values()):
            return []
        return ["no worker was refused for want of a connection: the fault did not strike"]


def _words(_kind: type[psycopg.Error]) -> str:
    return "remaining connection slots are reserved"


def _as_user(dsn: str, user: str) -> str:
    settings = {name: str(value) for name, value in conninfo_to_dict(dsn, user=user).items() if value is not None}
    return "postgresql:///?" + urlencode(settings, quote_via=quote)
