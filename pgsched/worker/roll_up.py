"""Aggregates the history into small tables, on behalf of all workers: one at a time takes the turn.

A turn has several steps, each a transaction of its own: the first counts what is new, the others what was committed
late or while no worker ran, for a limited time each. A worker that dies in a step leaves nothing of it. Tasks are
unaffected: a turn opens a connection of its own and closes it afterwards.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.worker import roll_up
from pgsched.db.worker.roll_up import FoundError, Step
from pgsched.domain.error_groups import OTHER, ErrorGroup, group_of
from pgsched.domain.records import to_json_able
from pgsched.observability.logs import get_logger
from pgsched.worker.idle_turns import Turn

log = get_logger("pgsched.worker")

NAME = "pgsched roll-up"
FIRST_SECONDS = 10.0
"""Seconds after its start in which a worker does not count."""
EVERY_SECONDS = 60.0
"""How often new history is counted when that is quick; each worker checks this often whether it is its turn."""
IDLE_SECONDS = 1800.0
"""How often a worker checks that has claimed nothing since."""
MAX_SHARE = 0.05
"""The share of time that counting may take, for all workers together."""
CATCH_UP_SHARE = 0.2
"""The share of time while much is left to count."""
HOLD_SECONDS = 120.0
"""How long a silent worker keeps its turn before another takes it."""
TURN_SECONDS = 10.0
"""Seconds after which a turn starts no further step."""
STEP_SECONDS = 1.0
"""Seconds that a step should take: the next one is made longer or shorter accordingly."""
MAX_STEP_SECONDS = 300.0
"""Seconds after which a step is abandoned."""
FIRST_MINUTES, SHORTEST_MINUTES, LONGEST_MINUTES = 60, 5, 1440
"""Minutes of history in a step that looks back: at first, at least, at most."""
PRUNE_SECONDS = 3600.0
"""How often old counts are deleted."""


class RollUp:
    """The part of one worker."""

    def __init__(self, *, dsn: str, worker: UUID, claimed: Callable[[], float] = monotonic) -> None:
        """``claimed`` returns how many tasks the worker has claimed so far; without it, it is never idle."""
        self._worker = worker
        self._turn = Turn(0.0, IDLE_SECONDS, claimed)
        self._session = Session(dsn=dsn, name=NAME)
        self._pause = FIRST_SECONDS
        self._minutes = FIRST_MINUTES
        self._prune_at = 0.0

    async def run(self) -> None:
        """Wait until it is time, then count if it is this worker's turn. Raises DatabaseUnavailable."""
        await asyncio.sleep(self._pause * random.uniform(0.8, 1.2))  # noqa: S311 - not all at once
        self._pause = EVERY_SECONDS
        if not self._turn.take():
            return
        pause = await self.run_once()
        if pause is not None:
            self._pause = pause

    async def run_once(self) -> float | None:
        """Count if it is this worker's turn; returns seconds until the next turn, None when another worker has it.

        Raises DatabaseUnavailable.
        """
        try:
            if not await roll_up.take_turn(self._session, self._worker, HOLD_SECONDS):
                return None
            began, behind = monotonic(), False
            while (await self.step()).stage is not None:
                behind = monotonic() - began > TURN_SECONDS
                if behind:
                    break
            if monotonic() >= self._prune_at:
                self._prune_at = monotonic() + PRUNE_SECONDS
                await self.prune()
            took = monotonic() - began
            pause = took * (1 / CATCH_UP_SHARE - 1) if behind else max(EVERY_SECONDS, took / MAX_SHARE)
            await roll_up.take_turn(self._session, self._worker, pause * 0.7)  # or all workers would ask at once
            return pause
        finally:
            await self._session.close()

    async def step(self) -> Step:
        """Count one piece of history and its errors, in one transaction. Raises DatabaseUnavailable."""
        began = monotonic()
        async with self._session.transaction(timeout=MAX_STEP_SECONDS) as connection:
            step = await roll_up.count_step(connection, self._minutes)
            if step.grown and step.failed:
                found = await roll_up.list_errors(connection, step.grown)
                await roll_up.note_errors(connection, step.grown, grouped(found))
        took = monotonic() - began
        if step.stage:
            if took > STEP_SECONDS:
                self._minutes = max(self._minutes // 2, SHORTEST_MINUTES)
            elif took < STEP_SECONDS / 4:
                self._minutes = min(self._minutes * 2, LONGEST_MINUTES)
        log.debug("history_counted", stage=step.stage, executions=step.number, seconds=round(took, 3))
        return step

    async def prune(self) -> int:
        """Delete counts beyond their retention. Raises DatabaseUnavailable."""
        async with self._session.transaction(timeout=MAX_STEP_SECONDS) as connection:
            return await roll_up.prune(connection)


def grouped(found: Iterable[FoundError]) -> list[dict[str, Any]]:
    """Return errors by bucket, group, type and queue, in the database's form."""
    groups: dict[str, ErrorGroup] = {}
    sums: dict[tuple[Any, ...], dict[str, Any]] = {}
    for one in found:
        if one.headline is None:
            group, fingerprint = ErrorGroup("", ""), OTHER
        else:
            group = groups.get(one.headline) or groups.setdefault(one.headline, group_of(one.headline))
            fingerprint = group.fingerprint
        key = (one.bucket, fingerprint, one.task_type, one.queue)
        known = sums.get(key)
        if known is None:
            sums[key] = {
                **{name: value for name, value in one._asdict().items() if name != "headline"},
                "fingerprint": fingerprint,
                "exception": group.exception,
                "message": group.message,
            }
            continue
        known["number"] += one.number
        known["first_seen"] = min(known["first_seen"], one.first_seen)
        known["last_seen"] = max(known["last_seen"], one.last_seen)
        known["task_id"] = max(known["task_id"] or 0, one.task_id or 0) or None
    return [{name: to_json_able(value) for name, value in one.items()} for one in sums.values()]
