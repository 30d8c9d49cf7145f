"""Copies of a database: a dump restored elsewhere, a restore to a moment, a cloned volume."""

from __future__ import annotations

import random
import subprocess
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psycopg
from psycopg import sql

from chaos.faults.copied import Copied, acknowledged_now, run_program
from chaos.faults.own_server import IMMEDIATE, OwnServer
from chaos.faults.standby import PORT
from chaos.faults.trial import Trial
from pgsched.client.client import Client
from pgsched.db.embedded.server import SUPERUSER
from tests.support.servers import with_database
from tests.support.waiting import wait_until

MOMENT = "the_moment"


class CopyDump(Copied):
    """The note of the original is in the dump, and so a worker sees that the copy is one.

    Negative control: tests/chaos/test_copies.py takes the note away, and the worker is found to run on the copy.
    """

    name = "copy-dump"
    in_tests = False
    does = (
        "pg_dump under load, restored on another server and in another database of the same one; workers are started "
        "on the copy."
    )

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 1 if trial.size.short else 4
        for number in range(rounds):
            acknowledged = acknowledged_now(trial)
            dump = trial.folder / f"dump-{number}"
            run_program("pg_dump", "--format=custom", "--compress=0", "--file", str(dump), "--dbname", trial.dsn)
            with ExitStack() as stack:
                elsewhere = number % 2 == 1
                server = stack.enter_context(OwnServer()).dsn if elsewhere else trial.dsn
                name = "restored"
                dsn = with_database(server, name)
                _define(server, "create database {} template template0", name)
                try:
                    run_program("pg_restore", "--exit-on-error", "--no-owner", "--dbname", dsn, str(dump))
                    self.put_on_trial(trial, dsn, acknowledged)
                finally:
                    _define(server, "drop database {} with (force)", name)
            dump.unlink()
            trial.pause(0.3 if trial.size.short else chance.uniform(0.5, 2.0))
        return rounds


class _Physical(Copied):
    """A copy of the whole server: nothing in it differs from the original, so a command holds workers back."""

    own_server = True
    kind = "held"
    in_tests = False

    def _hold(self, dsn: str) -> None:
        with Client(dsn) as client:
            state = client.database_state().state
            if state != "original":
                self.problems.append(f"the copy is {state}: it can be told from the original after all")
            client.hold_database(held_by="chaos")


class CopyPhysical(_Physical):
    name = "copy-physical"
    does = (
        "pg_basebackup under load, and a restore to a moment while the original works; `pgsched database hold`, then "
        "workers are started on the copy."
    )
    server_settings: Mapping[str, str] = {"wal_keep_size": "1GB", "max_wal_senders": "4"}

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        rounds = 1 if trial.size.short else 3
        for number in range(rounds):
            original = trial.server.data
            moment = f"{MOMENT}_{number}"
            acknowledged: list[int] = []

            def fill(
                data: Path,
                original: Path = original,
                moment: str = moment,
                acknowledged: list[int] = acknowledged,
            ) -> None:
                server = ["-h", str(original), "-p", str(PORT), "-U", SUPERUSER]
                run_program("pg_basebackup", *server, "-D", str(data), "-X", "none", "-c", "fast", "--no-sync")
                trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 3.0))
                acknowledged.extend(acknowledged_now(trial))
                with trial.books() as books:
                    books.execute("select pg_create_restore_point(%s)", (moment,))
                    trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 3.0))  # all this is not in the copy
                    books.execute("select pg_switch_wal()")
                for socket in data.glob(".s.PGSQL.*"):
                    socket.unlink()
                with (data / "postgresql.auto.conf").open("a") as settings:
                    settings.write(
                        f"\nrestore_command = 'cp {original}/pg_wal/%f %p'\nrecovery_target_name = '{moment}'\n"
                        "recovery_target_action = 'promote'\n"
                    )
                (data / "recovery.signal").touch()

            with OwnServer(fill=fill) as copy:
                _wait_until_writable(copy.dsn)
                later = set(acknowledged_now(trial)) - set(acknowledged)
                self._look_at_moment(copy.dsn, later)
                self._hold(copy.dsn)
                self.put_on_trial(trial, copy.dsn, acknowledged)
        return rounds

    def _look_at_moment(self, dsn: str, later: set[int]) -> None:
        """What was inserted long after the moment must not be in the copy, or it is a copy of something else."""
        with psycopg.connect(dsn) as connection:
            row = connection.execute(
                "select count(*) from pgsched.tasks where id = any(%s)", (sorted(later)[-50:],)
            ).fetchone()
        if row is None or row[0]:
            self.problems.append("what was inserted after the moment is in the copy")


class CopyVolume(_Physical):
    name = "copy-volume"
    does = (
        "PostgreSQL ends as in a crash, its files are copied, and both servers are started; `pgsched database hold`, "
        "then workers are started on the copy."
    )

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        server = trial.server
        rounds = 1 if trial.size.short else 3
        for _ in range(rounds):
            acknowledged: list[int] = []

            def fill(data: Path, acknowledged: list[int] = acknowledged) -> None:
                acknowledged.extend(acknowledged_now(trial))
                server.end(IMMEDIATE)
                subprocess.run(["cp", "-a", str(server.data), str(data)], check=True)
                server.start()
                for leftover in (*data.glob(".s.PGSQL.*"), *data.glob("postmaster.pid")):
                    leftover.unlink()

            with OwnServer(fill=fill) as copy:
                self._hold(copy.dsn)
                self.put_on_trial(trial, copy.dsn, acknowledged)
            trial.pause(0.3 if trial.size.short else chance.uniform(1.0, 2.0))
        return rounds


def _wait_until_writable(dsn: str) -> None:
    def writable() -> bool:
        try:
            with psycopg.connect(dsn, connect_timeout=3) as connection:
                row = connection.execute("select not pg_is_in_recovery()").fetchone()
                return bool(row and row[0])
        except psycopg.OperationalError:
            return False

    wait_until(writable, timeout=60, message="the copy has been restored to its moment")


def _define(server: str, statement: str, name: str) -> None:
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(sql.SQL(statement).format(sql.Identifier(name)))  # type: ignore[arg-type]
