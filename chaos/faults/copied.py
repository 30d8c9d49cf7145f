"""A copy of the trial's database on which workers are started: they run nothing before somebody adopts it."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from chaos.faults.model import Fault
from chaos.faults.system import Connection, books_of, verdict_of
from chaos.faults.trial import STOP_SECONDS, Trial
from chaos.invariants import ALWAYS, AT_THE_END, EFFECTS, SCHEDULES
from pgsched.client.client import Client
from pgsched.db.embedded.server import packaged_binaries
from tests.support.processes import PgschedProcess

REFUSES_SECONDS = 30.0
DONE_SECONDS = 120.0
REFUSALS = {"copy": "this database is a copy: ", "held": "workers have been held back from database "}
STATE = """
select (select count(*) from pgsched.executions) as executions, (select count(*) from effects) as effects,
  count(*) filter (where status = 'completed') as completed, count(*) filter (where next_run_at is not null) as waiting,
  count(*) filter (where status = 'running') as running, max(fencing_token) as token
from pgsched.tasks
"""


class Copied(Fault):
    """Makes copies of the database under load, starts workers on each, and judges them beside the original."""

    injects = "copies"
    kind = "copy"
    """What pgsched says of the copy: ``copy``, or ``held``, once somebody has held workers back."""

    def __init__(self) -> None:
        self.problems: list[str] = []
        self._ran = 0
        self._copies = 0

    def put_on_trial(self, trial: Trial, dsn: str, acknowledged: Iterable[int]) -> None:
        """Let a worker be refused on the copy, adopt it, let workers run all that is there, and judge the end.

        ``acknowledged``: what was acknowledged before the moment of the copy.
        """
        self._copies += 1
        folder = trial.folder / f"copy-{self._copies}"
        folder.mkdir()
        name = f"copy {self._copies}"
        with books_of(dsn) as books:
            before = _state(books)
            if not before["waiting"]:
                self.problems.append(f"{name}: nothing waited in it: the fault did not strike")
            self.problems += [f"{name}: {problem}" for problem in refusal(trial, dsn, folder, kind=self.kind)]
            if _state(books) != before:
                self.problems.append(f"{name}: it changed before anybody adopted it: {before}, then {_state(books)}")
            with Client(dsn) as client:
                client.adopt_database(adopted_by="chaos")
            self.problems += [f"{name}: {problem}" for problem in _run(trial, dsn, folder, books)]
            after = _state(books)
            if after["token"] <= before["token"]:
                self.problems.append(f"{name}: no token is greater than {before['token']}, that of the original")
            verdict = verdict_of(
                books, ALWAYS | AT_THE_END | SCHEDULES | EFFECTS, dict.fromkeys(acknowledged, "completed")
            )
            self.problems += [f"{name}: {problem}" for problem in verdict.broken]
            if verdict.lost or verdict.duplicated:
                self.problems.append(f"{name}: {verdict.lost} tasks lost, {verdict.duplicated} executions twice")
            self._ran += after["completed"] - before["completed"]

    def tell(self) -> Iterable[str]:
        yield (
            f"workers refused to start on {self._copies} of {self._copies} copies; once adopted, they ran the "
            f"{self._ran:,} tasks that waited there"
        )

    def check(self, trial: Trial) -> Iterable[str]:
        return self.problems


def acknowledged_now(trial: Trial) -> list[int]:
    """The tasks whose insert has been acknowledged by now."""
    return list(trial.acknowledged())


def refusal(trial: Trial, dsn: str, folder: Path, *, kind: str) -> list[str]:
    """Start a worker on a copy; returns what was wrong with its refusal."""
    worker = _worker(trial, dsn, folder, "refused")
    try:
        _until(trial, lambda: worker.returncode is not None, seconds=REFUSES_SECONDS)
        said = worker.stderr.strip()
        if worker.returncode is None:
            return [f"a worker did not refuse to run the tasks of the copy: {said[-300:]}"]
        if worker.returncode != 1 or REFUSALS[kind] not in said or len(said.splitlines()) != 1:
            return [f"a worker ended with {worker.returncode}, and said {said[-300:]!r}"]
        return []
    finally:
        worker.kill()


def run_program(program: str, *arguments: str, environment: Mapping[str, str] | None = None) -> None:
    """Run one of PostgreSQL's programs. Raises AssertionError with what it said if it fails."""
    done = subprocess.run(
        [str(packaged_binaries() / program), *arguments],
        env=None if environment is None else dict(environment),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        check=False,
    )
    assert done.returncode == 0, f"{program} ended with {done.returncode}: {done.stderr[-2000:]}"


def _run(trial: Trial, dsn: str, folder: Path, books: Connection) -> list[str]:
    """Let a worker run all that is to run on the copy; returns what was wrong."""
    wrong = []
    worker = _worker(trial, dsn, folder, "adopted")
    try:
        if not _until(trial, lambda: not trial.system.unfinished(books), seconds=DONE_SECONDS):
            wrong.append(f"not within {DONE_SECONDS:g} s: all has run; it said {worker.output[-500:]}")
        if worker.returncode is not None:
            wrong.append(f"the worker ended with {worker.returncode}: {worker.output[-300:]}")
        elif code := worker.stop(timeout=trial.shape.shutdown_timeout + STOP_SECONDS):
            wrong.append(f"the worker ended with {code} after SIGTERM")
        if "Traceback" in worker.output:
            wrong.append("the worker wrote a traceback")
    finally:
        worker.kill()
    return wrong


def _worker(trial: Trial, dsn: str, folder: Path, name: str) -> PgschedProcess:
    command = trial.crew.command
    return PgschedProcess(command.arguments, module=command.module, folder=folder, name=name, dsn=dsn)


def _until(trial: Trial, condition: Callable[[], bool], *, seconds: float) -> bool:
    """Let the load run until the condition holds; whether it does in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        trial.pause(0.1)
    return True


def _state(books: Connection) -> dict[str, Any]:
    row = books.execute(STATE).fetchone()  # type: ignore[arg-type]
    assert row is not None
    return row
