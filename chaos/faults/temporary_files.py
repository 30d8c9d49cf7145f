"""Statements may write hardly any temporary file."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any

from chaos.faults.model import Fault
from chaos.faults.server import TERMINATE_ALL
from chaos.faults.trial import Trial
from pgsched.client.client import Client
from pgsched.domain.errors import ImpairedDatabase
from pgsched.domain.task_spec import TaskSpec
from tests.support.processes import CHECKOUT

LIMITS = {"work_mem": "'64kB'", "temp_file_limit": "'16kB'"}
NAMED = 'temporary file size exceeds "temp_file_limit"'
TASKS = 3_000


class TemporaryFiles(Fault):
    name = "temp-file-limit"
    in_tests = False
    does = (
        "All sessions get 64 kB of work_mem and may write 16 kB of temporary files, for 20 seconds, while lists, "
        "counts and bulk operations run: a statement that needs more must fail with an error that names the "
        "limit, and no worker may end."
    )
    injects = "statements over the limit"

    def __init__(self) -> None:
        self._answers: Counter[str] = Counter()
        self._wrong: list[str] = []

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with trial.books() as books:
            row = books.execute("select current_database() as name").fetchone()
            assert row is not None
            for name, value in LIMITS.items():
                books.execute(f'alter database "{row["name"]}" set {name} = {value}')  # type: ignore[arg-type]
            books.execute(TERMINATE_ALL)
            deadline = time.monotonic() + (2.0 if trial.size.short else 20.0)
            number = 0
            with Client(trial.producer_dsn, pool_size=1) as client:
                while time.monotonic() < deadline or not number:
                    for what, ask in self._questions(client, number):
                        self._ask(trial, what, ask)
                    self._command(trial, "queue", "list")
                    self._command(trial, "task", "list", "--limit", "1000")
                    number += 1
                    trial.pause(chance.uniform(0.1, 0.5))
            for name in LIMITS:
                books.execute(f'alter database "{row["name"]}" reset {name}')  # type: ignore[arg-type]
            books.execute(TERMINATE_ALL)
        return self._answers["over the limit"]

    def _questions(self, client: Client, number: int) -> Iterable[tuple[str, Callable[[], Any]]]:
        specs = [
            TaskSpec(
                task_type="brief",
                priority=1,  # beside the steady load, not before it
                idempotency_key=f"spill {number} {place}" if place % 2 else None,
                metadata={"batch": number},
                max_attempts=1000,
                backoff="fixed",
                backoff_delay="100 ms",
            )
            for place in range(TASKS)
        ]
        yield "schedule_many", lambda: client.schedule_many(specs)
        yield "list_tasks", lambda: client.list_tasks(limit=1000)
        yield "list_queues", client.queues
        yield "stats", client.stats

    def _ask(self, trial: Trial, what: str, ask: Callable[[], Any]) -> None:
        try:
            answer = ask()
        except ImpairedDatabase as error:
            self._answers["over the limit"] += 1
            if NAMED not in str(error):
                self._wrong.append(f"{what}: {error}")
        except Exception as error:  # noqa: BLE001 - told
            self._wrong.append(f"{what} ended with {type(error).__name__}: {error}")
        else:
            self._answers["answered"] += 1
            if what == "schedule_many":
                trial.expect(list(answer))

    def _command(self, trial: Trial, *arguments: str) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "pgsched", "--dsn", trial.producer_dsn, *arguments],
            cwd=CHECKOUT,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode == 0:
            self._answers["answered"] += 1
            return
        self._answers["over the limit"] += 1
        lines = done.stderr.strip().splitlines()
        if done.returncode != 1 or len(lines) != 1 or NAMED not in lines[0]:
            self._wrong.append(f"`pgsched {' '.join(arguments)}` ended with {done.returncode}: {done.stderr[:400]}")

    def tell(self) -> Iterable[str]:
        yield f"{self._answers['over the limit']} statements were over the limit, {self._answers['answered']} answered"

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        with trial.books() as books:
            row = books.execute(
                "select count(*) filter (where n <> %s) as torn from (select count(*) as n from pgsched.tasks"
                " where task_type = 'brief' group by metadata ->> 'batch') batches",
                (TASKS,),
            ).fetchone()
        if row is None or row["torn"]:
            yield f"{row and row['torn']} bulk inserts were written in part"
