"""Runs cases: their sides alternate, each round in a separate process on a fresh database."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from psycopg.conninfo import conninfo_to_dict

from benchmarks.databases import Databases
from benchmarks.model import Case, Metrics, Side
from benchmarks.peers import Peers
from benchmarks.progress import Progress
from benchmarks.words import number

ROUND_SECONDS = 1800
ROOT = Path(__file__).parent.parent


@dataclass
class Outcome:
    """The result of one case."""

    case: Case
    rounds: dict[str, list[Metrics]] = field(default_factory=dict)
    """By side."""
    left_out: dict[str, str] = field(default_factory=dict)
    """Sides that did not run, and why."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where the rounds run."""

    databases: Databases
    peers: Peers
    progress: Progress

    def run(self, cases: Sequence[Case], rounds: int) -> Iterator[Outcome]:
        """Run every case, one after the other; a side that fails is skipped from then on, with the cause."""
        uses = Counter(filling for case in cases for filling in {side.database for side in case.sides})
        for case in cases:
            yield self._run_case(case, rounds_of(case, rounds))
            for filling in {side.database for side in case.sides}:
                uses[filling] -= 1
                if not uses[filling]:
                    self.databases.forget(filling)

    def _run_case(self, case: Case, rounds: int) -> Outcome:
        outcome = Outcome(case)
        for side in case.sides:
            causes = [self.peers.missing[need] for need in side.needs if need in self.peers.missing]
            if causes:
                self._leave_out(outcome, side, causes[0])
        for filling in sorted({side.database for side in case.sides}):
            self.progress.begin(f"{case.name}: making the database {filling!r}")
            self.databases.prepare(filling)
        for turn in range(rounds):
            for side in case.sides:
                if side.name in outcome.left_out:
                    self.progress.end(f"{case.name}: {side.name} left out")
                    continue
                where = f"{case.name} {turn + 1}/{rounds}: {side.name}"
                self.progress.begin(where)
                try:
                    metrics = self._round(side)
                except (subprocess.SubprocessError, json.JSONDecodeError) as error:
                    self._leave_out(outcome, side, _cause(error))
                    self.progress.end(f"{where} failed")
                    continue
                outcome.rounds.setdefault(side.name, []).append(metrics)
                self.progress.end(f"{where} {number(metrics[case.main])} {case.metrics[case.main]}")
        return outcome

    def _leave_out(self, outcome: Outcome, side: Side, cause: str) -> None:
        outcome.left_out[side.name] = cause
        outcome.rounds.pop(side.name, None)
        self.progress.note(f"left out: {outcome.case.name}, {side.name}: {cause}")

    def _round(self, side: Side) -> Metrics:
        dsn = self.databases.fresh(side.database)
        given = {**side.arguments, "dsn": dsn, "log": str(self.databases.log)}
        if side.program.endswith(".mjs"):
            place = conninfo_to_dict(dsn)
            given |= {name: place[name] for name in ("host", "port", "user")}
            given |= {"database": place["dbname"], "socket": str(self.peers.socket)}
            command = ["node", str(self.peers.node_folder / side.program)]
        else:
            command = [sys.executable, "-m", f"benchmarks.sides.{side.program}"]
        ended = subprocess.run(
            [*command, json.dumps(given)],
            cwd=ROOT,
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS,
            check=True,
        )
        metrics: Metrics = json.loads(ended.stdout)
        return metrics


def rounds_of(case: Case, rounds: int) -> int:
    """How many rounds of a case are run."""
    return min(rounds, case.rounds or rounds)


def steps_of(cases: Sequence[Case], rounds: int) -> int:
    """How many rounds of sides are run in all."""
    return sum(rounds_of(case, rounds) * len(case.sides) for case in cases)


def _cause(error: Exception) -> str:
    if isinstance(error, subprocess.TimeoutExpired):
        return f"did not end within {ROUND_SECONDS} s"
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line.strip() for line in str(error.stderr or "").splitlines() if line.strip()]
        told = [line for line in lines if "Error" in line] or lines or [f"ended with {error.returncode}"]
        return told[-1][:300]
    return f"printed no figures: {error}"
