"""The whole server is killed amid `pgsched migrate`."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from urllib.parse import urlsplit, urlunsplit

from chaos.faults.crashes import SAFE, kill_server
from chaos.faults.model import Fault
from chaos.faults.trial import Trial
from pgsched.db.migrations.runner import migrate
from tests.support.processes import CHECKOUT
from tests.support.schema_dump import shape
from tests.support.tables import database
from tests.upgrades.releases import RELEASES

PROGRESS = ("pgsched: making the index", "pgsched: waiting to change")
"""What `migrate` tells of on stderr beside its error."""
Shape = dict[str, list[dict[str, object]]]
OLD, MIGRATING, FRESH = "chaos_old", "chaos_migrating", "chaos_fresh"


class CrashAmidMigrate(Fault):
    name = "crash-amid-migrate"
    in_tests = False
    does = (
        "Every process of the server gets SIGKILL at a random moment of `pgsched migrate`, which upgrades a database "
        "of the oldest release with 40,000 tasks and executions; 30 kills, each followed by another `migrate` until "
        "one completes. Then the schema must equal a fresh one, and no row may be missing. Other workers run meanwhile."
    )
    injects = "crashes"
    own_server = True
    server_settings = SAFE
    KILLS, SHORT_KILLS = 30, 3
    TASKS, SHORT_TASKS = 40_000, 2_000
    MOST_OF_ONE = 8
    """Kills of one upgrade, after which it may complete."""

    def __init__(self) -> None:
        self._wrong: list[str] = []
        self._versions: Counter[int] = Counter()
        """The versions that kills left behind."""
        self._upgrades = 0
        self._amid = 0
        self._seconds = 5.0
        self._fresh: Shape = {}
        self._uninterrupted: Shape | None = None
        self._rows: tuple[object, ...] = ()

    def set_up(self, trial: Trial) -> None:
        environment = {**os.environ, **RELEASES[0].unpack(trial.folder / "release")}
        with trial.books() as books:
            for name in (OLD, FRESH):
                books.execute(f"create database {name}")  # type: ignore[arg-type]
        self._migrate(trial, OLD, environment=environment)
        tasks = self.SHORT_TASKS if trial.size.short else self.TASKS
        with database(_dsn(trial, OLD)) as old:
            _fill(old, tasks)
        migrate(_dsn(trial, FRESH))
        self._fresh = shape(_dsn(trial, FRESH))
        self._rows = _rows(_dsn(trial, OLD))
        self._copy_old(trial)
        began = time.monotonic()
        self._migrate(trial, MIGRATING)
        self._seconds = time.monotonic() - began
        self._judge(trial, "an upgrade without a crash")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        kills, most = 0, self.SHORT_KILLS if trial.size.short else self.KILLS
        while kills < most:
            self._copy_old(trial)
            for _ in range(min(self.MOST_OF_ONE, most - kills)):
                kills += 1
                if self._kill_one(trial, chance.uniform(0.15, 1.0) * self._seconds):
                    break
                trial.pause(0.1)
            self._migrate(trial, MIGRATING)
            self._upgrades += 1
            self._judge(trial, f"upgrade {self._upgrades}")
        return kills

    def _kill_one(self, trial: Trial, delay: float) -> bool:
        """Kill the server amid an upgrade; returns whether the upgrade had ended before."""
        assert trial.server is not None
        process = subprocess.Popen(
            [sys.executable, "-m", "pgsched", "migrate"],
            cwd=CHECKOUT,
            env={**os.environ, "PGSCHED_DSN": _dsn(trial, MIGRATING)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )
        deadline = time.monotonic() + delay
        while time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.005)
        kill_server(trial.server)
        trial.server.start()
        _, said = process.communicate(timeout=120)
        if process.returncode == 0:
            return True
        self._amid += 1
        self._versions[_version(trial)] += 1
        lines = [line for line in said.strip().splitlines() if not line.startswith(PROGRESS)]
        if process.returncode != 1 or len(lines) != 1 or "internal error" in said:
            self._wrong.append(
                f"`pgsched migrate` ended with {process.returncode} and {len(lines)} lines: {said[:600]}"
            )
        return False

    def _migrate(self, trial: Trial, name: str, *, environment: dict[str, str] | None = None) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pgsched", "migrate"],
            cwd=CHECKOUT if environment is None else trial.folder / "release",
            env={**(environment or os.environ), "PGSCHED_DSN": _dsn(trial, name)},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            self._wrong.append(f"`pgsched migrate` could not complete the upgrade: {done.stderr[:600]}")

    def _copy_old(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute(f"drop database if exists {MIGRATING} with (force)")  # type: ignore[arg-type]
            books.execute(f"create database {MIGRATING} template {OLD} strategy file_copy")  # type: ignore[arg-type]

    def _judge(self, trial: Trial, which: str) -> None:
        dsn = _dsn(trial, MIGRATING)
        found = shape(dsn)
        if self._uninterrupted is None:
            self._uninterrupted = found
        elif difference := _difference(found, self._uninterrupted):
            self._wrong.append(f"{which}: not as after an uninterrupted upgrade: {difference}")
        # Where there are rows, some constraints are added without looking through them.
        if difference := _difference(found, self._fresh, but=" NOT VALID"):
            self._wrong.append(f"{which}: not as in a fresh database: {difference}")
        if (rows := _rows(dsn)) != self._rows:
            self._wrong.append(f"{which}: the rows were {self._rows}, they are {rows}")
        with database(dsn) as books:
            invalid = books.execute(
                "select indexrelid::regclass::text as name from pg_index where not indisvalid"
            ).fetchall()
        if invalid:
            self._wrong.append(f"{which}: invalid indexes are left: {[row['name'] for row in invalid]}")

    def tell(self) -> Iterable[str]:
        yield (
            f"{self._amid} kills struck amid an upgrade, which takes {self._seconds:.1f} s, and left "
            f"{len(self._versions)} different versions ({min(self._versions, default=0)} to "
            f"{max(self._versions, default=0)}); {self._upgrades} upgrades were completed and compared"
        )

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        if not self._amid:
            yield "no kill struck amid an upgrade"


def _dsn(trial: Trial, name: str) -> str:
    return urlunsplit(urlsplit(trial.dsn)._replace(path=f"/{name}"))


def _version(trial: Trial) -> int:
    with database(_dsn(trial, MIGRATING)) as books:
        row = books.execute("select max(version) as version from pgsched.migrations").fetchone()
    assert row is not None
    return int(row["version"])


def _fill(old: object, tasks: int) -> None:
    """Waiting, finished and dead tasks with their history, so large that indexes are made beside whoever works."""
    execute = old.execute  # type: ignore[attr-defined]
    execute(
        "insert into pgsched.tasks (task_type, queue, payload, tags, idempotency_key)"
        " select 'mail', 'queue ' || n %% 20, jsonb_build_object('number', n, 'text', repeat('x', 200)),"
        " array['a', 'b'], case when n %% 3 = 0 then 'key ' || n end from generate_series(1, %s) n",
        (tasks,),
    )
    execute(
        "insert into pgsched.tasks (task_type, cron_expression, timezone)"
        " select 'report', '0 9 * * mon', 'Europe/Vienna' from generate_series(1, 100)"
    )
    execute(
        "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status, started_at,"
        " finished_at) select id, task_type, queue, 1, 1, 'completed', now() - interval '2 seconds', now()"
        " from pgsched.tasks where cron_expression is null"
    )


def _difference(found: Shape, expected: Shape, *, but: str = "") -> list[object]:
    """Some of what only one of two schemas has; ``but``: words that make no difference."""
    parts: list[object] = []
    for name, rows in found.items():
        one = [repr(row).replace(but, "") for row in rows]
        other = [repr(row).replace(but, "") for row in expected[name]]
        parts += [*[row for row in one if row not in other][:3], *[row for row in other if row not in one][:3]]
    return parts


def _rows(dsn: str) -> tuple[object, ...]:
    with database(dsn) as books:
        row = books.execute(
            "select (select count(*) from pgsched.tasks) as tasks, (select count(*) from pgsched.executions)"
            " as executions, (select sum(hashtext(id || task_type || queue || payload || coalesce(idempotency_key, ''))"
            "::bigint) from pgsched.tasks) as hash"
        ).fetchone()
    assert row is not None
    return tuple(row.values())
