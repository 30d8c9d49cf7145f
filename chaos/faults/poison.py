"""Poison: rows, triggers, rules, locks, handlers and settings that each must harm nobody else."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import ClassVar

from chaos.faults.model import Fault, Shape, Size
from chaos.faults.trial import Trial
from chaos.poison.ground import Ground
from chaos.poison.kind import Kind
from chaos.poison.kinds import FAMILIES, KINDS
from chaos.poison.turn import Turn, deal
from pgsched.db.migrations.runner import migrate
from tests.support.roles import login

ROLE = "poisoned_worker"
TURN_KINDS = 15
"""Kinds that are injected in one round."""
TURNS = 2
SHORT_KINDS = 20
"""Kinds that are injected in the single round of the short form."""
TASKS = 50_000
"""Minimum number of ordinary tasks that are completed beside poison."""
BEST_RATIO = 0.9
"""Of the throughput without poison there must be as much."""


class Poison(Fault):
    """Many kinds of poison beside ordinary tasks, alternating with rounds without poison."""

    name = "poison"
    does = (
        f"{TURN_KINDS * TURNS} of {len(KINDS)} kinds of poisoned rows and of triggers, constraints, locks, results,"
        " errors, log lines and foreign settings, selected by the seed, are injected at random beside 50,000 ordinary"
        " tasks, alternating with rounds without poison. Each poisoned task must be dead, or set aside with a reason"
        " until the poison is removed; the doctor must report it; the throughput must be"
        f" {BEST_RATIO:g} of that without poison."
    )
    injects = "poisoned tasks"
    own_server = True
    server_settings: ClassVar[Mapping[str, str]] = {
        "synchronous_commit": "off",
        "full_page_writes": "off",
        "max_connections": "200",
    }

    def __init__(self, kinds: Iterable[Kind] = KINDS.values()) -> None:
        self._kinds = list(kinds)
        self._stack = contextlib.ExitStack()
        self._turns: list[Turn] = []
        self._clean: list[tuple[float, float]] = []
        """Seconds and tasks a second of each turn without poison."""
        self._poisoned: list[tuple[float, float]] = []

    def shape(self, size: Size) -> Shape:
        return Shape(
            workers=2 if size.short else 4,
            concurrency=5,  # slots are to bound the throughput also where the machine is slow
            app="chaos.poison.app:app",
            options=("--queue", "*", "--lease", "6"),
        )

    def set_up(self, trial: Trial) -> None:
        migrate(trial.dsn, roles=True)
        trial.worker_dsn = self._stack.enter_context(login(trial.dsn, ROLE, member_of="pgsched_worker"))
        with trial.books() as books:
            books.execute(f"grant all on effects, ledger to {ROLE}")  # type: ignore[arg-type]
        trial.tolerated = ("Traceback (most recent call last)",)  # of handlers, in what they print

    def inject(self, trial: Trial, chance: random.Random) -> int:
        ground = Ground(trial, ROLE)
        turns = 1 if trial.size.short else TURNS
        seconds = 0.5 if trial.size.short else TASKS / TURNS / trial.rate(time.time() - 5, time.time()) * 1.1
        self._kinds = chance.sample(self._kinds, SHORT_KINDS if trial.size.short else TURN_KINDS * TURNS)
        for kinds in deal(self._kinds, turns, chance):
            if not trial.size.short:
                self._clean.append(self._timed(trial, partial(trial.pause, seconds)))
            turn = Turn(trial, ground, kinds, chance)
            self._turns.append(turn)
            self._poisoned.append(self._timed(trial, partial(turn.run, seconds)))
        return sum(turn.planted for turn in self._turns)

    def _timed(self, trial: Trial, run: Callable[[], None]) -> tuple[float, float]:
        start = time.time()
        run()
        end = time.time()
        return end - start, trial.rate(start, end)

    def check(self, trial: Trial) -> Iterable[str]:
        for number, turn in enumerate(self._turns, 1):
            yield from (f"turn {number}: {problem}" for problem in turn.problems)
        if not trial.size.short:
            if self.beside < TASKS:
                yield f"only {self.beside:,} ordinary tasks were completed beside poison"
            if self.ratio < BEST_RATIO:
                yield f"the throughput beside poison was {self.ratio:.2f} of that without"

    def tell(self) -> Iterable[str]:
        fates: dict[str, int] = {}
        for turn in self._turns:
            for fate, number in turn.count().items():
                fates[fate] = fates.get(fate, 0) + number
        met = ", ".join(f"{number} {fate}" for fate, number in sorted(fates.items()))
        families = ", ".join(
            f"{planted} {family}"
            for family, kinds in FAMILIES.items()
            if (planted := sum(kind in kinds for kind in self._kinds))
        )
        yield f"{len(self._kinds)} kinds ({families}); of their tasks: {met}."
        if self._clean:
            turns = ", ".join(
                f"{poisoned / clean:.2f}" for (_, poisoned), (_, clean) in zip(self._poisoned, self._clean, strict=True)
            )
            yield (
                f"{self.beside:,} ordinary tasks beside poison; throughput {self._rate(self._poisoned):,.0f} a second,"
                f" {self._rate(self._clean):,.0f} without, in {TURNS} turns each: {self.ratio:.2f} ({turns})."
            )

    @property
    def beside(self) -> int:
        """How many ordinary tasks were completed beside poison."""
        return round(sum(seconds * rate for seconds, rate in self._poisoned))

    @property
    def ratio(self) -> float:
        """The throughput beside poison divided by that without."""
        return self._rate(self._poisoned) / self._rate(self._clean)

    def _rate(self, turns: list[tuple[float, float]]) -> float:
        return sum(seconds * rate for seconds, rate in turns) / sum(seconds for seconds, _ in turns)

    def tear_down(self, trial: Trial) -> None:
        self._stack.close()
