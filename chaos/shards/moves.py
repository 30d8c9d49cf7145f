"""Moves of tenants during a trial, of which many are killed, suspended or run twice at once."""

from __future__ import annotations

import random
import signal
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from chaos.shards.mover import STEPS
from tests.support.processes import PgschedProcess

MOVE_SECONDS = 60.0
"""How long a mover may take; more is a problem."""
SUSPENDED_SECONDS = 3.0
REFUSALS = ("is moving to shard", "was finished by another process", "another move of tenant", "waits for")
"""What a mover may end with: another one was faster, or has begun before."""


class Moves(threading.Thread):
    """Moves tenants one after the other, until it is told to end; every choice comes from ``chance``."""

    def __init__(
        self,
        *,
        dsn: str,
        shards: Sequence[str],
        tenants: Sequence[str],
        folder: Path,
        chance: random.Random,
        environment: Mapping[str, str],
    ) -> None:
        super().__init__(name="moves")
        self._dsn, self._shards, self._tenants = dsn, shards, tenants
        self._folder, self._chance, self._environment = folder, chance, environment
        self._ending = threading.Event()
        self._spawned = 0
        self._running: list[PgschedProcess] = []
        self.completed = self.killed = self.suspended = 0
        self.struck: set[str] = set()
        """The steps at which movers died or stood still."""
        self.problems: list[str] = []

    def run(self) -> None:
        while not self._ending.is_set():
            try:
                self._move(self._chance.choice(self._tenants), self._chance.choice(self._shards))
            except AssertionError as error:
                self.problems.append(str(error))
                return

    def end(self) -> None:
        """End after the move that is under way, which is finished."""
        self._ending.set()
        self.join(4 * MOVE_SECONDS)
        if self.is_alive():
            self.problems.append("a move did not end")
        for mover in self._running:
            mover.kill()

    def command(self, tenant: str, target: str) -> PgschedProcess:
        """Start the command."""
        return self._start("pgsched", "shard", "move", tenant, "--to", target, "--timeout", "30")

    def strike(self, tenant: str, target: str, step: str, how: str) -> PgschedProcess:
        """Start a mover that sends itself a signal before a step."""
        occurrence = str(self._chance.choice((1, 1, 2)))
        return self._start("chaos.shards.mover", tenant, target, step, occurrence, how)

    def finish(self, tenant: str, target: str) -> None:
        """Run the command until the tenant is there, as somebody does after an interruption."""
        deadline, known = time.monotonic() + MOVE_SECONDS, len(self.problems)
        while time.monotonic() < deadline and len(self.problems) == known:
            mover = self.command(tenant, target)
            if not self._ended(mover):
                self.completed += 1
                return
            # Another target has been announced, whose move must be finished first.
            found = mover.stderr.partition("is moving to shard ")[2][:1]
            if found in self._shards and found != target:
                self._ended(self.command(tenant, found))
        if len(self.problems) == known:
            self.problems.append(f"tenant {tenant} was not moved to {target} within {MOVE_SECONDS:g} s")

    def _move(self, tenant: str, target: str) -> None:
        """A move, and what happens to it."""
        fate = self._chance.choice(("runs", "dies", "dies", "is killed", "is suspended", "has a rival"))
        step = self._chance.choice(STEPS)
        if fate == "dies":
            mover = self.strike(tenant, target, step, "SIGKILL")
            if self._ended(mover) == -signal.SIGKILL:
                self.killed += 1
                self.struck.add(step)
        elif fate == "is killed":
            mover = self.command(tenant, target)
            time.sleep(self._chance.uniform(0.3, 2.0))
            if mover.returncode is None:
                self.killed += 1
            mover.kill()
        elif fate == "is suspended":
            mover = self.strike(tenant, target, step, "SIGSTOP")
            deadline = time.monotonic() + SUSPENDED_SECONDS
            while mover.returncode is None and "at " not in mover.stdout and time.monotonic() < deadline:
                time.sleep(0.02)
            if "at " in mover.stdout:
                self.suspended += 1
                self.struck.add(step)
            self.finish(tenant, target)
            if self._chance.random() < 0.5:
                self.finish(tenant, self._chance.choice(self._shards))
            mover.signal(signal.SIGCONT)
            self._ended(mover)
            return
        elif fate == "has a rival":
            rivals = [self.command(tenant, target), self.command(tenant, self._chance.choice((target, *self._shards)))]
            for mover in rivals:
                self._ended(mover)
        # Often somebody wants it elsewhere by then.
        self.finish(tenant, target if self._chance.random() < 0.5 else self._chance.choice(self._shards))

    def _ended(self, mover: PgschedProcess) -> int:
        """Wait for a mover; returns its exit code, and notes an end that it may not have."""
        code = mover.wait(timeout=MOVE_SECONDS)
        self._running.remove(mover)
        refused = code == 1 and any(text in mover.stderr for text in REFUSALS)
        if code not in (0, -signal.SIGKILL) and not refused:
            self.problems.append(f"{mover} ended with {code}: {mover.output[-500:]}")
        return code

    def _start(self, module: str, *arguments: str) -> PgschedProcess:
        self._spawned += 1
        mover = PgschedProcess(
            arguments,
            module=module,
            folder=self._folder,
            name=f"mover-{self._spawned}",
            dsn=self._dsn,
            env=self._environment,
        )
        self._running.append(mover)
        return mover
