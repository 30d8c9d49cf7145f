"""Workers whose clock is wrong, and jumps."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from chaos.faults.model import Fault
from chaos.faults.system import Command
from chaos.faults.trial import Trial

HOUR = 3600
ROUNDS, SHORT_ROUNDS = 30, 4


class WrongClock(Fault):
    """The wall clock of the workers is an hour off, and jumps while they work."""

    name = "clock-an-hour-off"
    does = "The clocks of the worker processes jump by up to an hour; the database's clock is authoritative."
    injects = "jumps"

    def set_up(self, trial: Trial) -> None:
        command = trial.crew.command
        trial.crew.command = Command(module="chaos.load.late_clock", arguments=command.arguments)
        (trial.folder / "clock").write_text("0")

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = SHORT_ROUNDS if trial.size.short else ROUNDS
        offsets = [HOUR, -HOUR, *(chance.uniform(-HOUR, HOUR) for _ in range(rounds - 2))]
        for offset in offsets:
            self._set(trial, offset)
            trial.pause(0.4 if trial.size.short else chance.uniform(0.3, 1.5))
        self._set(trial, HOUR)  # and so it stays
        return rounds + 1

    def check(self, trial: Trial) -> Iterable[str]:
        for name, text in trial.crew.outputs().items():
            stamps = [json.loads(line).get("timestamp", "") for line in text.splitlines() if line.startswith("{")]
            if stamps and not datetime.fromisoformat(stamps[-1]) - datetime.now(UTC) > timedelta(minutes=50):
                yield f"{name} ends at {stamps[-1]}: the clock was not changed"

    def _set(self, trial: Trial, offset: float) -> None:
        part = trial.folder / "clock.new"
        part.write_text(f"{offset:.3f}")
        part.replace(trial.folder / "clock")
