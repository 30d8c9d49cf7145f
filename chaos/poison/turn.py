"""One turn of the trial: some kinds are planted, looked at, and taken away."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import psycopg

from chaos.poison.ground import FINAL, Fate, Ground
from chaos.poison.kind import COMPLETED, REFUSED, SET_ASIDE, WAITS, Kind
from tests.support.waiting import wait_until

if TYPE_CHECKING:
    from chaos.faults.trial import Trial

FATE_SECONDS = 60.0
"""So long after the last one was planted every poisoned task must have met its fate."""
DOCTOR_SECONDS = 30.0
"""And so long after that the doctor must have named every kind."""
LOOK_SECONDS = 2.0
"""Pause between two checks of the tasks, or calls of the doctor, so that checking costs little."""
HEAL_SECONDS = 120.0
"""Seconds after the removal of the poison within which everything must have ended."""


class Turn:
    """Some kinds, planted at random moments."""

    def __init__(self, trial: Trial, ground: Ground, kinds: Sequence[Kind], chance: random.Random) -> None:
        self._trial = trial
        self._ground = ground
        self._chance = chance
        # Locks come last: a change of the schema would wait for them, and everything behind it.
        self.kinds = sorted(kinds, key=lambda kind: kind.act is not None)
        self.ids: dict[str, list[int]] = {}
        self.fates: dict[int, Fate] = {}
        """What has become of each poisoned task; the first fate that its kind allows."""
        self.problems: list[str] = []
        self._companions: list[int] = []
        self._refused: dict[str, str] = {}
        self._unnamed = {kind.name for kind in kinds if kind.doctor is not None}
        self._said: dict[str, set[str]] = {}

    def run(self, seconds: float) -> None:
        """Plant them all within about half of the time, and take them away when it is over and all were seen."""
        deadline = time.monotonic() + seconds
        with ThreadPoolExecutor(max_workers=len(self.kinds) + 1) as threads:
            acts = self._plant(threads, seconds / 2 / len(self.kinds))
            self._watch(deadline)
            for act in acts:
                act.result()
        for kind in reversed(self.kinds):
            self._ground.run(kind, kind.undo)
        self._heal()

    def _plant(self, threads: ThreadPoolExecutor, pause: float) -> list[Future[None]]:
        acts = []
        for kind in self.kinds:
            self._ground.run(kind, kind.before)
            try:
                ids = self._ground.insert(kind, kind.rows + self._chance.randrange(3))
            except psycopg.Error as error:
                self._refused[kind.name] = str(error)
                continue
            self.ids[kind.name] = ids
            self._ground.run(kind, kind.after)
            if kind.companions:
                self._companions += self._ground.insert_companions(kind)
            if kind.act is not None:
                acts.append(threads.submit(self._ground.act, kind, kind.act, ids))
            self._trial.pause(self._chance.uniform(0, 2 * pause))
            self._look()
            if acts:
                self._examine()  # a lock may be released before all kinds are injected
        return acts

    def _watch(self, deadline: float) -> None:
        """Until all have met their fates and the doctor has named them, and the time is over."""
        patience = time.monotonic() + FATE_SECONDS
        while (missing := self._missing()) and time.monotonic() < patience:
            self._examine()
            self._trial.pause(LOOK_SECONDS)
        self.problems += missing
        patience = time.monotonic() + DOCTOR_SECONDS
        while self._unnamed and time.monotonic() < patience:
            self._examine()
            self._trial.pause(LOOK_SECONDS)
        self.problems += [self._not_named(kind) for kind in self.kinds if kind.name in self._unnamed]
        self._trial.pause(max(0.0, deadline - time.monotonic()))

    def _look(self) -> Mapping[int, Fate]:
        """Note the fates that are allowed; returns those of all whose fate was not noted before."""
        kinds = {task: kind for kind in self.kinds for task in self.ids.get(kind.name, ()) if task not in self.fates}
        found = self._ground.fates(list(kinds))
        for task, fate in found.items():
            kind = kinds[task]
            # Tasks that wait forever look like tasks that are about to run.
            if fate.fate in kind.fates and fate.fate != WAITS and _has(fate, kind):
                self.fates[task] = fate
        return found

    def _missing(self) -> list[str]:
        """What has not met its fate."""
        found = self._look()
        missing = []
        for kind in self.kinds:
            if (REFUSED in kind.fates) != (kind.name in self._refused):
                missing.append(f"{kind.name}: its insert was {self._refused.get(kind.name, 'not refused')}")
            elif kind.name in self._refused:
                if kind.words not in self._refused[kind.name]:
                    missing.append(f"{kind.name}: refused with {self._refused[kind.name][:200]!r}")
            elif WAITS not in kind.fates:
                for task in set(self.ids[kind.name]) - set(self.fates):
                    missing.append(
                        f"{kind.name}: {' or '.join(kind.fates)} with {kind.words!r}, but: {found.get(task)}"
                    )
        companions = self._ground.fates(self._companions).values()
        if open_ones := [fate for fate in companions if fate.status != "completed"]:
            missing.append(f"{len(open_ones)} ordinary tasks beside poisoned ones in their queue: {open_ones[0]}")
        return missing

    def _examine(self) -> None:
        """Ask the doctor, and note whom he named."""
        if not self._unnamed:
            return
        for check, lines in self._ground.named().items():
            self._said.setdefault(check, set()).update(lines)
        for kind in self.kinds:
            if kind.doctor is not None and kind.name in self._unnamed:
                check, words = kind.doctor
                if any(kind.fill(words) in line for line in self._said.get(check, ())):
                    self._unnamed.discard(kind.name)

    def _not_named(self, kind: Kind) -> str:
        assert kind.doctor is not None
        check, words = kind.doctor
        return f"{kind.name}: the doctor did not name {kind.fill(words)!r} under {check}"

    def _heal(self) -> None:
        """Tasks that were set aside resume; tasks that only wait are cancelled."""
        every = {task: kind for kind in self.kinds for task in self.ids.get(kind.name, ())}
        self._ground.cancel([task for task, kind in every.items() if WAITS in kind.fates and kind.act is None])

        def over() -> bool:
            self._trial.pause(LOOK_SECONDS)
            now = self._ground.fates([*every, *self._companions])
            return all(fate.status in FINAL for fate in now.values() if fate.id not in schedules)

        schedules = self._ground.schedules(list(every))
        try:
            wait_until(over, timeout=HEAL_SECONDS, message="everything has ended after the removal of the poison")
        except AssertionError as error:
            self.problems.append(str(error))
            left = [f for f in self._ground.fates(list(every)).values() if f.status not in FINAL]
            self.problems += [f"{every[fate.id].name}: still {fate}" for fate in left[:10]]
        self._ground.cancel([*every, *self._companions])
        every |= {child: every[parent] for child, parent in self._ground.children(list(every)).items()}
        for task, fate in self._ground.fates([*every, *self._companions]).items():
            if task in every and (every[task].odd_books or task in schedules):
                self._ground.delete([task])
            else:
                self._trial.expect([task], fate.status)
        self._ground.let_an_hour_pass()

    @property
    def planted(self) -> int:
        """How many tasks are poisoned, or were to be."""
        return sum(map(len, self.ids.values())) + len(self._refused)

    def count(self) -> dict[str, int]:
        """How many tasks met which fate."""
        counted: dict[str, int] = {REFUSED: len(self._refused)} if self._refused else {}
        for fate in self.fates.values():
            counted[fate.fate] = counted.get(fate.fate, 0) + 1
        return counted


def _has(fate: Fate, kind: Kind) -> bool:
    """A reason is needed where a task did not end well."""
    if fate.fate == SET_ASIDE and not fate.reason:
        return False
    return fate.fate == COMPLETED or kind.fill(kind.words) in fate.reason


def deal(kinds: Iterable[Kind], hands: int, chance: random.Random) -> list[list[Kind]]:
    """Distribute the kinds over the rounds, evenly by the doctor's checks."""
    dealt: list[list[Kind]] = [[] for _ in range(hands)]
    shuffled = list(kinds)
    chance.shuffle(shuffled)
    shuffled.sort(key=lambda kind: kind.doctor[0] if kind.doctor else "")
    for place, kind in enumerate(shuffled):
        dealt[place % hands].append(kind)
    for hand in dealt:
        chance.shuffle(hand)
    return dealt
