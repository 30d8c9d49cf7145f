"""Looks once a minute what is wrong, for all workers: whoever takes the turn looks, the others show what it found.

The look has a connection of its own, opened for it and closed after it, and each of its questions ends by itself:
claims and finishes know nothing of it.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.upkeep import begin_watch, note_findings
from pgsched.logs import get_logger
from pgsched.maintenance.doctor.doctor import look
from pgsched.maintenance.doctor.findings import Finding

log = get_logger("pgsched.worker")

EVERY_SECONDS = 60.0
"""How often each worker asks whether it is its turn: about so often all of them together look."""
TURN_SECONDS = 45.0
"""So long after a look nobody looks again."""
FIRST_SECONDS = 20.0
"""A worker that has just started lets so many seconds pass: the first troubles are those of a start."""
NAME = "pgsched watchdog"


class Watchdog:
    """One worker's part of it."""

    def __init__(self, *, dsn: str, worker: UUID) -> None:
        self._dsn = dsn
        self._worker = worker
        self._session = Session(dsn=dsn, name=NAME)

    async def run(self) -> None:
        """Look again and again; for ever. Raises DatabaseUnavailable."""
        await asyncio.sleep(FIRST_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311 - not all at once
        while True:
            await self.tick()
            await asyncio.sleep(EVERY_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311

    async def tick(self, *, every: float = TURN_SECONDS) -> bool:
        """Look if nobody did for so long; returns whether it was this worker's turn. Raises DatabaseUnavailable."""
        try:
            before = await begin_watch(self._session, self._worker, every)
            if before is None:
                return False
            found = (await look(self._dsn, name=NAME)).findings
            await note_findings(self._session, self._worker, [finding.as_dict() for finding in found])
        finally:
            await self._session.close()
        tell(before, found)
        return True


def tell(before: Sequence[dict[str, str]], found: Sequence[Finding]) -> None:
    """Log what is new, and what is gone; hints are no trouble."""
    known = {(one["check"], one["object"], one["severity"]): one for one in before if one["severity"] != "hint"}
    now: dict[tuple[str, str, str], Finding] = {
        (one.check, one.object, one.severity): one for one in found if one.severity != "hint"
    }
    for key, one in now.items():
        if key not in known:
            log.warning("trouble_found", **one.as_dict())
    for key, old in known.items():
        if key not in now:
            log.info("trouble_gone", check=old["check"], severity=old["severity"], object=old["object"])
