"""The whole server is killed, amid what takes long: a COPY, a deletion."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

from chaos.faults.model import Fault
from chaos.faults.own_server import OwnServer
from chaos.faults.trial import Trial
from pgsched.client.client import Client
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.domain.records import Pruned
from pgsched.domain.task_spec import TaskSpec

LEFT = """
select (select count(*) from pgsched.tasks where task_type = 'old') as tasks,
  (select count(*) from pgsched.executions where task_type = 'old') as executions
"""
SAFE = {"fsync": "on", "checkpoint_timeout": "30s"}


def kill_server(server: OwnServer) -> None:
    """SIGKILL every process of a server, as a machine that stops would: nothing is flushed or rolled back."""
    first = server.postmaster
    pids = [first, *_children(first)]
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _children(parent: int) -> list[int]:
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            # pid (name) state parent …; the name may hold spaces.
            if int(stat.read_text().rpartition(")")[2].split()[1]) == parent:
                found.append(int(stat.parent.name))
    return found


class CrashAmidCopy(Fault):
    name = "crash-amid-copy"
    in_tests = False
    does = (
        "Every process of the server gets SIGKILL while `schedule_many` sends its COPY, at a random row or around the "
        "commit, 40 times; each call must have inserted all of its tasks or none."
    )
    injects = "crashes"
    own_server = True
    server_settings = SAFE
    ROUNDS, SHORT_ROUNDS = 40, 3
    TASKS = 1500

    def __init__(self) -> None:
        self._ended = {"whole": 0, "absent": 0, "acknowledged": 0, "amid": 0}
        self._wrong: list[str] = []
        self._seconds = 0.0
        """How long an answer takes after the last row."""

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = self.SHORT_ROUNDS if trial.size.short else self.ROUNDS
        self._measure(trial)
        for number in range(rounds):
            # A third of the kills strike after the last row: around the commit.
            self._round(trial, number, chance.randrange(self.TASKS * 3 // 2), chance.uniform(0, 2 * self._seconds))
            trial.pause(0.2 if trial.size.short else chance.uniform(0.3, 1.5))
        return rounds

    def _measure(self, trial: Trial) -> None:
        """Insert once without a crash, to learn how long the answer takes after the last row."""
        last, killed = threading.Event(), threading.Event()
        ended: list[float] = []

        def specs() -> Iterator[TaskSpec]:
            yield from _specs("whole", self.TASKS, -1, last, killed)
            ended.append(time.monotonic())

        with Client(trial.producer_dsn, pool_size=1) as client:
            trial.expect(client.schedule_many(specs()))
        self._seconds = time.monotonic() - ended[0]

    def _round(self, trial: Trial, number: int, row: int, delay: float) -> None:
        assert trial.server is not None
        reached, killed = threading.Event(), threading.Event()
        answer: list[object] = []

        def insert() -> None:
            try:
                with Client(trial.producer_dsn, pool_size=1) as client:
                    answer.append(client.schedule_many(_specs(number, self.TASKS, row, reached, killed)))
            except Exception as error:  # noqa: BLE001 - looked at below
                answer.append(error)

        inserting = threading.Thread(target=insert, name="chaos copy")
        inserting.start()
        reached.wait(20)
        if row >= self.TASKS:
            time.sleep(delay)
        kill_server(trial.server)
        killed.set()
        trial.server.start()
        inserting.join(60)
        with trial.books() as books:
            found = books.execute(
                "select id from pgsched.tasks where metadata ->> 'batch' = %s order by id", (str(number),)
            ).fetchall()
        ids = [int(one["id"]) for one in found]
        self._judge(number, ids, answer[0] if answer else "no answer within a minute")
        self._ended["amid"] += row < self.TASKS
        trial.expect(ids)

    def _judge(self, number: int, ids: list[int], answer: object) -> None:
        self._ended["whole" if ids else "absent"] += 1
        if len(ids) not in (0, self.TASKS):
            self._wrong.append(f"call {number} left {len(ids)} of {self.TASKS} tasks")
        if isinstance(answer, list):
            self._ended["acknowledged"] += 1
            if sorted(answer) != ids:
                self._wrong.append(f"call {number} was acknowledged with {len(answer)} ids, {len(ids)} tasks are there")
        elif not isinstance(answer, DatabaseUnavailable):
            self._wrong.append(f"call {number} ended with {answer!r}")

    def tell(self) -> Iterable[str]:
        ended = self._ended
        yield (
            f"{ended['amid']} kills struck amid the COPY; {ended['whole']} calls had inserted all of their "
            f"{self.TASKS:,} tasks ({ended['acknowledged']} were acknowledged), {ended['absent']} none"
        )

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        if not self._ended["amid"] or not self._ended["absent"]:
            yield "no kill struck amid a COPY"


def _specs(
    number: int | str, tasks: int, row: int, reached: threading.Event, killed: threading.Event
) -> Iterator[TaskSpec]:
    for place in range(tasks):
        if place == row:
            reached.set()
            killed.wait(20)
        key = {"idempotency_key": f"copy {number} {place}"} if place % 10 == 0 else {}
        yield TaskSpec(
            task_type="brief",
            priority=1,  # beside the steady load, not before it
            metadata={"batch": number},
            max_attempts=1000,
            backoff="fixed",
            backoff_delay="100 ms",
            **key,
        )
    reached.set()


class CrashAmidRetention(Fault):
    name = "crash-amid-retention"
    in_tests = False
    does = (
        "Every process of the server gets SIGKILL 25 times while tasks that ended long ago are deleted in batches, "
        "with a copy in the archive, and days of the history are dropped. In the end all of them must be gone and "
        "in the archive once, and nothing else."
    )
    injects = "crashes"
    own_server = True
    server_settings = SAFE
    ROUNDS = 25
    OLD = 4_000
    """Tasks that each round adds."""
    DAYS = 6

    def __init__(self) -> None:
        self._wrong: list[str] = []
        self._amid = 0
        self._most_executions = 0

    def inject(self, trial: Trial, chance: random.Random) -> int:
        assert trial.server is not None
        rounds = 2 if trial.size.short else self.ROUNDS
        for number in range(rounds):
            self._add_old(trial, number)
            before = self._left(trial)
            self._most_executions = before[1]
            pruning = threading.Thread(target=self._prune, args=(trial, False), name="chaos prune")
            pruning.start()
            self._wait_for(trial, pruning, before[0] * chance.uniform(-0.1, 1.0))
            time.sleep(chance.uniform(0, 0.1))
            kill_server(trial.server)
            trial.server.start()
            pruning.join(60)
            left = self._left(trial)
            self._amid += before[0] > left[0] > 0 or before[1] > left[1] > 0 or (left[0] == 0) != (left[1] == 0)
            trial.pause(0.2 if trial.size.short else chance.uniform(0.3, 1.0))
        while not self._prune(trial, True):
            trial.pause(0.5)
        return rounds

    def _add_old(self, trial: Trial, number: int) -> None:
        """Tasks that ended some days ago, and their history, on partitions of those days."""
        with trial.books() as books, books.transaction():
            books.execute("set local pgsched.restoring = on")
            for day in range(10, 10 + self.DAYS):
                begins = datetime.now(UTC).date() - timedelta(days=day)
                books.execute(
                    f"create table if not exists pgsched.executions_{begins:%Y%m%d} partition of pgsched.executions"
                    f" for values from ('{begins}') to ('{begins + timedelta(days=1)}')"  # type: ignore[arg-type]
                )
            books.execute(
                """
                with old as (
                  insert into pgsched.tasks (
                    task_type, status, next_run_at, attempts, fencing_token, execution_count, completed_at, metadata)
                  select 'old', 'completed', null, 1, 1, 1,
                    date_trunc('day', now(), 'UTC') - (10 + n %% %s) * interval '1 day' + interval '12 hours',
                    jsonb_build_object('round', %s)
                  from generate_series(1, %s) n
                  returning id, completed_at)
                insert into pgsched.executions (
                  task_id, task_type, queue, attempt, fencing_token, status, started_at, finished_at)
                select id, 'old', 'default', 1, 1, 'completed', completed_at - interval '1 second', completed_at
                from old
                """,
                (self.DAYS, number, self.OLD),
            )

    def _wait_for(self, trial: Trial, pruning: threading.Thread, tasks: float) -> None:
        """Wait until so many old tasks are left; fewer than none: until the history goes as well."""
        with trial.books() as books:
            while pruning.is_alive():
                left = books.execute(LEFT).fetchone()
                assert left is not None
                if left["tasks"] <= tasks or (not left["tasks"] and tasks >= 0):
                    return
                if tasks < 0 and not left["tasks"] and left["executions"] < self._most_executions:
                    return
                time.sleep(0.002)

    def _prune(self, trial: Trial, must: bool) -> bool:
        """Delete what ended long ago; returns whether nothing is left of it."""
        options = {"completed_older_than": "5d", "history_older_than": "5d", "archive": True}
        try:
            with Client(trial.producer_dsn, pool_size=1) as client:
                done: Pruned = client.prune(**options)  # type: ignore[arg-type]
        except DatabaseUnavailable:
            return False
        except Exception as error:  # noqa: BLE001 - told
            self._wrong.append(f"prune ended with {type(error).__name__}: {error}")
            return True
        return not must or (done.complete and not any(self._left(trial)))

    def _left(self, trial: Trial) -> tuple[int, int]:
        """How many old tasks and old executions there are."""
        with trial.books() as books:
            row = books.execute(LEFT).fetchone()
        assert row is not None
        return int(row["tasks"]), int(row["executions"])

    def tell(self) -> Iterable[str]:
        yield f"{self._amid} kills struck amid a deletion that was partly done"

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        rounds = 2 if trial.size.short else self.ROUNDS
        with trial.books() as books:
            row = books.execute(
                "select count(*) as copies, count(distinct id) as tasks, count(*) filter (where task_type <> 'old')"
                " as others from pgsched.archived_tasks"
            ).fetchone()
        assert row is not None
        found = (row["copies"], row["tasks"], row["others"])
        if found != (rounds * self.OLD, rounds * self.OLD, 0):
            yield f"the archive has (copies, tasks, other tasks) {found}, expected {rounds * self.OLD:,} of each once"
        if not self._amid:
            yield "no kill struck amid a deletion"
