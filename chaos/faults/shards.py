"""Three databases as one system: tenants are moved under load while movers, workers and a database die."""

from __future__ import annotations

import os
import random
import signal
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack, suppress
from pathlib import Path

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.own_server import IMMEDIATE, OwnServer
from chaos.faults.system import Pgsched, books_of
from chaos.faults.trial import Trial
from chaos.shards.moves import Moves
from chaos.shards.system import ShardedSystem, opened
from pgsched.domain.shards import hashed_shard, shard_key
from pgsched.ops.shards import init_shards

NAMES = ("a", "b", "c")
SETTLED, MOVED = 2, 1
"""Tenants of each shard that stay, and that are moved."""
MOVE_SECONDS, SHORT_MOVE_SECONDS = 120.0, 15.0
DOWN_SECONDS, SHORT_DOWN_SECONDS = 15.0, 4.0
MEASURED_SECONDS, SHORT_MEASURED_SECONDS = 12.0, 3.0
"""For so long the throughput of each database is measured, before and during the outage."""
SHARE, SHORT_SHARE = 0.9, 0.5
"""Such a part of its throughput a database must have while another one is down."""
SERVED_SECONDS = 60.0
"""How long it may take until all workers serve all databases after the last of them was killed."""
REFUSED = "and a move needs all of them"


class Shards(Fault):
    """Clients route by tenant, workers serve all databases, tenants move; the books of all are judged as one.

    Negative controls: tests/chaos/test_shards.py, where the guard of the moves is taken away, and each rule is broken.
    """

    name = "shards"
    does = (
        "Three databases on three servers are one system; tenants move between them for two minutes, while movers "
        "are killed before one of their steps, suspended and run against each other, and workers and processes of "
        "workers get SIGKILL. Then one server crashes for 15 s. Each task and tick must run once, in one database, "
        f"each tenant must be at one home, and the other two databases must keep {SHARE:g} of their throughput."
    )
    injects = "moves, kills and crashes"
    own_server = True
    in_tests = False

    def __init__(self, *, guard: bool = True) -> None:
        """``guard``: False for a negative control, which takes the guard of the placements away."""
        self._guard = guard
        self._stack = ExitStack()
        self._servers: dict[str, OwnServer] = {}
        self._system: ShardedSystem | None = None
        self._moved: list[str] = []
        self._problems: list[str] = []
        self._told: list[str] = []

    def shape(self, size: Size) -> Shape:
        # For each shard: the processes of one worker share the machine with those of all others.
        return Shape(workers=2, concurrency=4, transactions=2)

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        self._servers = {"a": trial.server}
        for name in NAMES[1:]:
            self._servers[name] = self._stack.enter_context(OwnServer())
            Pgsched().prepare(self._servers[name].dsn)
        dsns = {name: server.dsn for name, server in self._servers.items()}
        with opened(dsns) as databases:
            init_shards(databases)
        for dsn in () if self._guard else dsns.values():
            with books_of(dsn) as books:
                books.execute("alter table pgsched.tasks disable trigger refuse_moved")
        tenants = {name: list(_tenants(name, SETTLED + MOVED)) for name in NAMES}
        self._moved = [one for found in tenants.values() for one in found[SETTLED:]]
        trial.system = self._system = ShardedSystem(
            dsns,
            settled=[one for found in tenants.values() for one in found[:SETTLED]],
            moved=self._moved,
            waiting=trial.shape.waiting // 2,
        )
        trial.worker_dsn = trial.producer_dsn = " ".join(f"{name}={dsn}" for name, dsn in dsns.items())

    def inject(self, trial: Trial, chance: random.Random) -> int:
        moves = Moves(
            dsn=trial.worker_dsn,
            shards=NAMES,
            tenants=self._moved,
            folder=trial.folder,
            chance=random.Random(chance.random()),
            environment={},
        )
        measured = SHORT_MEASURED_SECONDS if trial.size.short else MEASURED_SECONDS
        before = self._measure(trial, NAMES, measured)
        moves.start()
        kills = 0
        try:
            deadline = time.monotonic() + (SHORT_MOVE_SECONDS if trial.size.short else MOVE_SECONDS)
            while time.monotonic() < deadline and not moves.problems:
                trial.pause(chance.uniform(1.0, 3.0))
                assert trial.producer is not None
                assert trial.producer.returncode is None, f"the producer ended: {trial.producer.output}"
                kills += self._kill(trial, chance)
        finally:
            moves.end()
        self._wait_until_served(trial, NAMES)
        crashed = chance.choice(NAMES[1:])  # the trial itself needs the first
        self._crash(trial, moves, crashed, before, chance)
        self._told.append(
            f"{moves.completed} moves completed, {moves.killed} movers were killed and {moves.suspended} suspended"
            f" ({len(moves.struck)} different steps); {kills} workers or processes of workers were killed."
        )
        self._problems += moves.problems
        if not moves.killed or not moves.completed:
            self._problems.append("no mover was killed, or no move completed: the trial shows nothing")
        return moves.completed + moves.killed + moves.suspended + kills + 1

    def _kill(self, trial: Trial, chance: random.Random) -> int:
        """SIGKILL a worker with all its processes, or one of its processes; returns how many."""
        place = chance.randrange(trial.crew.count)
        if not trial.crew.is_ready(place):
            return 0
        if chance.random() < 0.5:
            trial.crew.kill(place)
            trial.crew.replace(place)
            return 1
        for pid in self._processes(chance.choice(NAMES), {trial.crew.workers[place].pid}):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                return 1
        return 0

    def _processes(self, name: str, parents: Collection[int]) -> list[int]:
        """The processes that serve a database, of the workers with these pids."""
        assert self._system is not None
        with books_of(self._system.dsns[name]) as books:
            pids = [int(row["pid"]) for row in books.execute("select pid from pgsched.workers").fetchall()]
        return [pid for pid in pids if _parent(pid) in parents]

    def _wait_until_served(self, trial: Trial, names: Iterable[str]) -> None:
        """Wait until every worker has a process for each of these databases, and let them begin."""
        deadline = time.monotonic() + SERVED_SECONDS
        for name in names:
            while len(self._processes(name, {one.pid for one in trial.crew.workers})) < trial.crew.count:
                assert time.monotonic() < deadline, f"workers do not serve {name} after {SERVED_SECONDS:g} s"
                trial.pause(0.1)
        trial.pause(1.0)

    def _crash(
        self, trial: Trial, moves: Moves, crashed: str, at_first: Mapping[str, float], chance: random.Random
    ) -> None:
        """Let one server be down, and compare the throughput of the others; moves cannot take place meanwhile.

        They are compared with what they did just before, and ``at_first``, whichever is more.
        """
        assert self._system is not None
        short = trial.size.short
        measured = SHORT_MEASURED_SECONDS if short else MEASURED_SECONDS
        others = [name for name in NAMES if name != crashed]
        tenant = chance.choice(self._moved)
        just_before = self._measure(trial, others, measured)
        before = {name: max(at_first[name], just_before[name]) for name in others}
        # Its move is under way when the server ends.
        interrupted = moves.strike(tenant, chance.choice(NAMES), "park a batch", "SIGKILL")
        interrupted.wait(timeout=60)
        down = time.monotonic()
        self._servers[crashed].end(IMMEDIATE)
        refused = moves.command(tenant, chance.choice(others))
        if refused.wait(timeout=60) != 1 or REFUSED not in refused.stderr:
            self._problems.append(f"a move while {crashed} was down ended with {refused.returncode}: {refused.output}")
        during = self._measure(trial, others, measured)
        trial.crew.kill(0)  # a worker must start without it, and serve it later
        trial.crew.replace(0)
        trial.pause((SHORT_DOWN_SECONDS if short else DOWN_SECONDS) - (time.monotonic() - down))
        self._wait_until_served(trial, others)
        self._servers[crashed].start()
        trial.fault_ended_at = time.time()
        # The books are judged once the moves are over.
        for one in self._moved:
            moves.finish(one, chance.choice(NAMES))
        share = SHORT_SHARE if short else SHARE
        parts = {name: during[name] / max(before[name], 0.1) for name in others}
        for name, part in parts.items():
            if part < share:
                self._problems.append(f"while {crashed} was down, {name} did {part:.2f} of its work, not {share:g}")
        listed = ", ".join(f"{name} {before[name]:.0f} → {during[name]:.0f} (×{parts[name]:.2f})" for name in others)
        self._told.append(f"Tasks a second before and while {crashed} was down: {listed}.")

    def _measure(self, trial: Trial, names: Iterable[str], seconds: float) -> Mapping[str, float]:
        assert self._system is not None
        start = time.time()
        trial.pause(seconds + 0.5)
        first = int(start * 10) + 1
        rates = {}
        for name in names:
            done = self._system.completions_of(name, start)
            rates[name] = sum(done.get(tenth, 0) for tenth in range(first, first + int(seconds * 10))) / seconds
        return rates

    def check(self, trial: Trial) -> Iterable[str]:
        return self._problems

    def tell(self) -> Iterable[str]:
        return self._told

    def tear_down(self, trial: Trial) -> None:
        self._stack.close()


def _parent(pid: int) -> int | None:
    """The parent of a process; None if there is no such process."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return None


def _tenants(shard: str, count: int) -> Iterator[str]:
    """Tenants that the hash gives to this shard."""
    number = 0
    while count:
        number += 1
        if hashed_shard(NAMES, shard_key(f"t{number}")) == shard:
            yield f"t{number}"
            count -= 1
