"""One trial: a system under load, a fault, and the books at the end."""

from __future__ import annotations

import contextlib
import random
import signal
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

import psycopg

from chaos.faults.crew import Crew
from chaos.faults.model import RECOVERY_SECONDS, Fault, Row, Size, Verdict
from chaos.faults.own_server import OwnServer
from chaos.faults.system import Connection, Pgsched, System, books_of
from tests.support.processes import PgschedProcess
from tests.support.waiting import wait_until

DONE_SECONDS = 120.0
"""How long the work that is left at the end may take."""
STOP_SECONDS = 15.0
"""How much longer than its shutdown timeout a worker may take to end: it still writes, and says good-bye."""
SETTLED = 3
"""Tenths of a second that are not looked at yet: outcomes that are still being written."""
FAULTS_OF_PGSCHED = ("Traceback (most recent call last)", "loop_failed", "slot_failed", "run_failed")


class Trial:
    """Workers, a producer and their database, for the fault to break.

    ``dsn`` is the direct way to the database, for the books. ``worker_dsn`` and ``producer_dsn`` may be set to other
    ways by :meth:`Fault.set_up`; processes that are started later take the way there is then.
    """

    def __init__(
        self,
        *,
        fault: Fault,
        size: Size,
        seed: int,
        dsn: str,
        folder: Path,
        server: OwnServer | None = None,
        system: System | None = None,
    ) -> None:
        self.fault, self.size, self.seed = fault, size, seed
        self.system = system or Pgsched()
        self.dsn = self.worker_dsn = self.producer_dsn = dsn
        self.folder = folder
        self.server = server
        """The PostgreSQL of a fault with ``own_server``."""
        self.shape = fault.shape(size)
        self.environment: dict[str, str] = {}
        """Of the workers; for :meth:`Fault.set_up` to change."""
        self.fault_ended_at: float | None = None
        """When the fault was over, by ``time.time()``; set by a fault that was over before its ``inject`` returned."""
        self.recovery: float | None = None
        """The recovery time in seconds, once it was measured, for :meth:`Fault.check`; None: not within the limit."""
        self.tolerated: tuple[str, ...] = ()
        """Of FAULTS_OF_PGSCHED, what the workers may write."""
        self.crew = Crew(
            command=self.system.worker(self.shape, size),
            count=self.shape.workers,
            ready=self.system.ready,
            folder=folder,
            dsn=lambda: self.worker_dsn,
            environment=self.environment,
        )
        self.producer: PgschedProcess | None = None
        self._expected: dict[int, str] = {}

    # For faults.

    @contextlib.contextmanager
    def books(self) -> Iterator[Connection]:
        """A connection of our own by the direct way, in autocommit mode; its rows are dictionaries."""
        with books_of(self.dsn) as connection:
            yield connection

    def pause(self, seconds: float) -> None:
        """Let the load run for this long; replace workers that exit meanwhile."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.crew.revive()
            time.sleep(min(left, 0.1))

    def completed(self, since: float = 0.0) -> int:
        """How many tasks of the steady load have been completed since then (``time.time()``)."""
        with self.books() as books:
            return sum(self.system.completions(books, since).values())

    def insert(self, task_type: str, count: int = 1, *, ends: str = "completed", payload: str = "{}") -> list[int]:
        """Insert tasks of the fault's own, each of which must be ``ends`` in the end."""
        with self.books() as books:
            rows = books.execute(
                """
                insert into pgsched.tasks (task_type, payload, max_attempts, backoff, backoff_delay, timeout)
                select %s, %s::jsonb, 1000, 'fixed', '100 ms', case when %s = 'overstays' then interval '50 ms' end
                from generate_series(1, %s)
                returning id
                """,
                (task_type, payload, task_type, count),
            ).fetchall()
        ids = [int(row["id"]) for row in rows]
        self.expect(ids, ends)
        return ids

    def expect(self, ids: list[int], ends: str = "completed") -> None:
        """Tasks that the fault inserted by itself must be ``ends`` in the end."""
        self._expected |= dict.fromkeys(ids, ends)

    def wait_until_ended(self, ids: list[int], *, timeout: float = 30) -> None:
        """Wait until these tasks are over; workers that end by themselves meanwhile are replaced."""

        def over() -> bool:
            self.crew.revive()
            with self.books() as books:
                left = books.execute(
                    "select from pgsched.tasks where id = any(%s) and next_run_at is not null limit 1", (ids,)
                )
                return left.fetchone() is None

        wait_until(over, timeout=timeout, message=f"{len(ids)} tasks of the fault have ended")

    # The course of it.

    def run(self) -> Row:
        """Run the trial; leaves no process behind."""
        began = time.monotonic()
        # By a text of its own for each fault: a part of a run repeats what the whole run did.
        chance = random.Random(f"{self.seed} {self.fault.name}")
        try:
            self.fault.set_up(self)
            row = self._run(chance)
        finally:
            if self.producer is not None:
                self.producer.kill()
            self.crew.kill_all()
            self.fault.tear_down(self)
        return _with(row, seconds=round(time.monotonic() - began, 1))

    def _run(self, chance: random.Random) -> Row:
        self.crew.start()
        command = self.system.producer(self.shape)
        producer = self.producer = PgschedProcess(
            command.arguments, module=command.module, folder=self.folder, name="producer", dsn=self.producer_dsn
        )
        self.crew.wait_until_ready()
        wait_until(self.completed, timeout=30, message="the first tasks are completed")
        self.pause(self.size.warm_up)
        start = time.time()
        self.pause(self.size.before)
        end = time.time()
        injected = self.fault.inject(self, chance)
        ended = self.fault_ended_at or time.time()
        before = self.rate(start, end)
        recovery = self.recovery = self._wait_for_recovery(ended, before)
        after = 0.0
        if recovery is not None:
            start = ended + recovery
            self.pause(start + self.size.after + SETTLED / 10 - time.time())
            after = self.rate(start, start + self.size.after)
        wrong = self._end(producer)
        verdict = self._judge()
        return Row(
            system=self.system.name,
            fault=self.fault.name,
            seed=self.seed,
            short=self.size.short,
            tasks=len(self.acknowledged()),
            injected=injected,
            lost=verdict.lost,
            duplicated=verdict.duplicated,
            recovery_seconds=recovery,
            before=round(before, 1),
            after=round(after, 1),
            broken=[*verdict.broken, *wrong, *self.fault.check(self)],
            told=list(self.fault.tell()),
        )

    def acknowledged(self) -> Mapping[int, str]:
        """The ids of tasks whose insert was acknowledged, and how each must end."""
        path = self.folder / "acknowledged"
        ids = [int(line) for line in path.read_text().splitlines()] if path.exists() else []
        return dict.fromkeys(ids, "completed") | self._expected

    def rate(self, start: float, end: float) -> float:
        """Tasks of the steady load that were completed between these times (``time.time()``), a second."""
        first, last = int(start * 10), int(end * 10)
        with self.books() as books:
            done = self.system.completions(books, start - 0.1)
        return sum(done.get(tenth, 0) for tenth in range(first, last)) / ((last - first) / 10)

    def _wait_for_recovery(self, ended: float, before: float) -> float | None:
        deadline = time.monotonic() + RECOVERY_SECONDS + 1.5
        while time.monotonic() < deadline:
            with self.books() as books:
                done = self.system.completions(books, ended)
            seconds = recovery_seconds(done, ended=ended, now=time.time(), wanted=before * self.size.recovered)
            if seconds is not None:
                return seconds if seconds <= RECOVERY_SECONDS else None
            self.pause(0.3)
        return None

    def _end(self, producer: PgschedProcess) -> list[str]:
        """Let everything be done, and everybody stop; returns what was wrong."""
        wrong = []
        producer.signal(signal.SIGTERM)
        try:
            if code := producer.wait(timeout=30):
                wrong.append(f"the producer ended with {code}: {producer.output.splitlines()[-1:]}")
        except AssertionError:
            wrong.append("the producer did not end: no insert of its was acknowledged for 30 s")

        def done() -> bool:
            self.crew.revive()
            with self.books() as books:
                return not self.system.unfinished(books)

        try:
            wait_until(done, timeout=DONE_SECONDS, message="nothing is left to run")
        except AssertionError as error:
            wrong.append(str(error))
        self.crew.wait_until_ready()
        wrong += self.crew.stop(timeout=self.shape.shutdown_timeout + STOP_SECONDS)
        if not self.fault.ends_workers:
            wrong += self.crew.deaths
        unwanted = set(FAULTS_OF_PGSCHED) - set(self.tolerated)
        for name, text in self.crew.outputs().items():
            wrong += [f"{name} holds {word!r}: {_around(text, word)}" for word in sorted(unwanted) if word in text]
        return wrong

    def _judge(self) -> Verdict:
        with self.books() as books:
            return self.system.verdict(books, self.acknowledged())


def recovery_seconds(done: Mapping[int, int], *, ended: float, now: float, wanted: float) -> float | None:
    """From ``ended`` to the first second with as many completions as ``wanted``; None: there is none yet.

    ``done`` has the completions of every tenth of a second.
    """
    first = int(ended * 10) + 1  # the first that is wholly after the fault
    for tenth in range(first, int(now * 10) - 10 - SETTLED):
        if sum(done.get(tenth + step, 0) for step in range(10)) >= wanted:
            return max(0.0, round(tenth / 10 - ended, 1))
    return None


def _around(text: str, word: str) -> str:
    place = text.index(word)
    return " / ".join(line.strip() for line in text[max(0, place - 300) : place + 1000].splitlines())


def _with(row: Row, **changed: float) -> Row:
    return Row(**{**asdict(row), **changed})


def reachable(dsn: str) -> bool:
    """Whether a server answers there."""
    with contextlib.suppress(psycopg.OperationalError), psycopg.connect(dsn, connect_timeout=3):
        return True
    return False
