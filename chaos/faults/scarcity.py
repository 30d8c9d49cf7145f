"""Workers with few descriptors, little memory, or little time of the processor; handlers without end."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.server import TERMINATE_ALL
from chaos.faults.system import Command
from chaos.faults.trial import STOP_SECONDS, Trial
from chaos.load.scarcity import ENOUGH, NOTES

DESCRIPTORS = 64
MEMORY = 2 * 1024**3
BUSY = "while True: pass"
STARVED = 0.3
"""Part of its time that a starved worker waits for a processor, at least."""


class Limited(Fault):
    """Workers with limits."""

    in_tests = False
    limits: dict[str, int]
    takes: str
    """The type of the tasks that take what is limited."""

    def __init__(self) -> None:
        self._refused = 0

    def shape(self, size: Size) -> Shape:
        return Shape(app="chaos.load.scarcity:app")

    def set_up(self, trial: Trial) -> None:
        command = trial.crew.command
        arguments = (json.dumps(self.limits), *command.arguments)
        trial.crew.command = Command(module="chaos.load.limited", arguments=arguments)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 3 if trial.size.short else 20
        ids: list[int] = []
        for _ in range(rounds):
            ids += trial.insert(self.takes)
            trial.pause(chance.uniform(0.1, 0.3))
            self.strike(trial)
            trial.pause(chance.uniform(0.5, 0.8))
        trial.wait_until_ended(ids, timeout=60)
        trial.fault_ended_at = time.time()
        path = trial.folder / NOTES
        self._refused = len(path.read_text().splitlines()) if path.exists() else 0
        return len(ids)

    def strike(self, trial: Trial) -> None:
        """What else happens meanwhile."""

    def check(self, trial: Trial) -> Iterable[str]:
        if not self._refused:
            yield "no handler took all that the limit left: the trial shows nothing"


class FewDescriptors(Limited):
    """``ulimit -n 64``."""

    name = "worker-few-descriptors"
    does = (
        "Workers have `ulimit -n 64`. Handlers open files until none can be opened, and meanwhile the server ends all "
        "sessions: the worker cannot connect again until they are closed."
    )
    injects = "handlers"
    limits = {"descriptors": DESCRIPTORS}  # noqa: RUF012
    takes = "takes_descriptors"

    def set_up(self, trial: Trial) -> None:
        super().set_up(trial)
        # Waiting for the server takes a descriptor as well: the error is the system's, and is logged as such.
        trial.tolerated = ("Traceback (most recent call last)", "loop_failed")

    def strike(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute(TERMINATE_ALL)


class LittleMemory(Limited):
    """``ulimit -v``: handlers in threads take all that is left, and what the worker then allocates fails as well."""

    name = "worker-memory-limit"
    does = (
        "Workers have 2 GiB of address space. Handlers in threads take all that is left, so that allocations of the "
        "worker itself fail; a worker that ends of it is restarted."
    )
    injects = "handlers"
    limits = {"memory": MEMORY}  # noqa: RUF012
    takes = "takes_memory"
    ends_workers = True

    def set_up(self, trial: Trial) -> None:
        super().set_up(trial)
        trial.tolerated = ("Traceback (most recent call last)", "loop_failed", "slot_failed", "run_failed")


class Starved(Fault):
    """Workers at nice 19 beside busy neighbours: leases are kept, or lost and taken by others."""

    name = "worker-starved"
    does = "Workers run at nice 19, and four busy processes per processor take its time for half a minute."
    injects = "neighbours"
    in_tests = False

    def __init__(self) -> None:
        self._waited = 0.0

    def set_up(self, trial: Trial) -> None:
        command = trial.crew.command
        arguments = (json.dumps({"nice": 19}), *command.arguments)
        trial.crew.command = Command(module="chaos.load.limited", arguments=arguments)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        neighbours: list[subprocess.Popen[bytes]] = []
        seconds = 2.0 if trial.size.short else 30.0
        try:
            before, began = self._waits(trial), time.monotonic()
            for _ in range(4 * len(os.sched_getaffinity(0))):
                neighbours.append(subprocess.Popen([sys.executable, "-c", BUSY], start_new_session=True))
            trial.pause(seconds)
            self._waited = (self._waits(trial) - before) / (time.monotonic() - began) / trial.crew.count
        finally:
            for one in neighbours:
                one.kill()
                one.wait()
        trial.fault_ended_at = time.time()
        return len(neighbours)

    def _waits(self, trial: Trial) -> float:
        """Seconds that the workers' threads were ready to run and waited for a processor."""
        waited = 0
        for worker in trial.crew.workers:
            for path in Path(f"/proc/{worker.pid}/task").glob("*/schedstat"):
                waited += int(path.read_text().split()[1])
        return waited / 1e9

    def check(self, trial: Trial) -> Iterable[str]:
        if self._waited < STARVED and not trial.size.short:
            yield f"the workers waited for a processor {self._waited:.0%} of the time: the fault did not strike"

    def tell(self) -> Iterable[str]:
        yield f"The threads of a worker waited for a processor for {self._waited:.1f} s in each second of the fault."


class Recursion(Fault):
    """Recursion without end, in Python's frames, and in C by what is nested too deeply."""

    name = "handler-recursion"
    does = (
        "Handlers, on the event loop and in threads, recurse without end, and encode, decode, print and return lists "
        "that are nested 100,000 deep."
    )
    injects = "handlers"
    in_tests = False

    def shape(self, size: Size) -> Shape:
        return Shape(app="chaos.load.scarcity:app")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        kinds: list[tuple[str, dict[str, Any]]] = [
            (kind, {"how": how})
            for kind in ("recurses", "recurses_plain")
            for how in ("frames", "encode", "decode", "print")
        ]
        kinds.append(("returns_deep", {}))
        ids: list[int] = []
        for _ in range(1 if trial.size.short else 10):
            chance.shuffle(kinds)
            for kind, payload in kinds:
                ids += trial.insert(kind, payload=json.dumps(payload))
                trial.pause(chance.uniform(0.0, 0.1))
        trial.wait_until_ended(ids, timeout=60)
        trial.fault_ended_at = time.time()
        return len(ids)

    def check(self, trial: Trial) -> Iterable[str]:
        with trial.books() as books:
            rows = books.execute(
                """
                select t.task_type, t.payload, e.error from pgsched.tasks t
                left join pgsched.executions e on e.task_id = t.id and e.status = 'failed'
                where t.task_type like 'recurses%%' and e.error is distinct from null
                  and e.error not like 'RecursionError%%'
                """
            ).fetchall()
            failed = books.execute(
                "select from pgsched.executions where status = 'failed' and error like 'RecursionError%%' limit 1"
            ).fetchone()
        for row in rows:
            yield f"{row['task_type']} {row['payload']} failed otherwise: {(row['error'] or '')[:200]}"
        if failed is None:
            yield "no attempt ended with a RecursionError: the fault did not strike"


class StuckThreads(Fault):
    """As many threads as a worker may have, none of which ends when it is asked to."""

    name = "stuck-threads"
    does = (
        "1,000 plain handlers of a worker with 1,000 slots never end. It gets SIGTERM, must exit within its timeout, "
        "and release their tasks: other workers complete them without waiting for the leases."
    )
    injects = "threads"
    in_tests = False

    def __init__(self) -> None:
        self._wrong: list[str] = []
        self._seconds = 0.0
        self._threads = 0

    def shape(self, size: Size) -> Shape:
        return Shape(app="chaos.load.scarcity:app", shutdown_timeout=1.0 if size.short else 5.0)

    def inject(self, trial: Trial, chance: random.Random) -> int:
        count = 100 if trial.size.short else 1000
        place = trial.crew.count
        arguments = list(trial.crew.command.arguments)
        arguments[arguments.index("--concurrency") + 1] = str(count)
        # So that nobody may take for the end of a lease what is a release.
        arguments[arguments.index("--lease") + 1] = "60"
        usual, trial.crew.command = trial.crew.command, Command(module="pgsched", arguments=tuple(arguments))
        others = list(trial.crew.workers)
        trial.crew.workers.append(trial.crew.workers[0])
        trial.crew.replace(place)
        trial.crew.command = usual
        stuck = trial.crew.workers[place]
        trial.crew.wait_until_ready()
        assert trial.producer is not None
        trial.producer.signal(signal.SIGUSR1)  # the many slots are for these tasks
        for worker in others:  # so that the one with many slots takes all of them
            worker.signal(signal.SIGSTOP)
        try:
            ids = trial.insert("sticks", count)
            deadline = time.monotonic() + 120
            # A few slots may have transactions that wait for rows which a stopped worker has locked.
            enough = 0.95 * count
            while (started := len(list(trial.folder.glob("stuck-*")))) < enough and time.monotonic() < deadline:
                time.sleep(0.1)
            if started < enough:
                self._wrong.append(f"only {started} of {count} threads were started")
            status = Path(f"/proc/{stuck.pid}/status").read_text()
            self._threads = int(status.partition("Threads:")[2].split()[0])
        finally:
            for worker in others:
                worker.signal(signal.SIGCONT)
            trial.producer.signal(signal.SIGUSR2)
        (trial.folder / ENOUGH).touch()
        began = time.monotonic()
        stuck.signal(signal.SIGTERM)
        limit = trial.shape.shutdown_timeout + STOP_SECONDS
        try:
            code = stuck.wait(timeout=limit)
        except AssertionError:
            self._wrong.append(f"the worker did not end within {limit:g} s of SIGTERM")
            stuck.kill()
            code = 0
        self._seconds = time.monotonic() - began
        if code:
            self._wrong.append(f"the worker ended with {code} after SIGTERM")
        del trial.crew.workers[place]
        trial.wait_until_ended(ids, timeout=50)  # less than the lease
        trial.fault_ended_at = time.time()
        return count

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._wrong
        with trial.books() as books:
            row = books.execute(
                "select count(*) as n from pgsched.executions where task_type = 'sticks' and status = 'lost'"
            ).fetchone()
        if row is not None and row["n"]:
            yield f"{row['n']} tasks were not released: their leases ended"

    def tell(self) -> Iterable[str]:
        yield f"A worker with {self._threads:,} threads ended {self._seconds:.1f} s after SIGTERM."
