"""Runs the doctor's checks now and then on behalf of all workers: one takes the turn, the others show its findings.

Most scans cover urgent problems only, in a handful of statements; complete scans are rare. A scan opens a connection of
its own and closes it afterwards, and each of its queries has a time limit: claims and finishes are unaffected.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from uuid import UUID

from pgsched.db.session import Session
from pgsched.db.worker.housekeeping import begin_watch, note_findings, note_successes
from pgsched.observability.logs import get_logger
from pgsched.ops.doctor.doctor import look_async
from pgsched.worker.rulebook import follow

log = get_logger("pgsched.worker")

EVERY_SECONDS = 240.0
"""How often each worker checks whether it is its turn, which is about how often all of them together scan."""
TURN_SECONDS = 160.0
"""Minimum time from one scan to the next."""
COMPLETE_SECONDS = 1200.0
"""How often all checks run, not only the urgent ones."""
AGAIN_SECONDS = 10.0
"""Delay after a failure."""
FIRST_SECONDS = 20.0
"""Seconds after its start in which a worker does not scan: the first troubles are those of a start."""
NAME = "pgsched watchdog"


class HealthScan:
    """The part of one worker."""

    def __init__(self, *, dsn: str, worker: UUID) -> None:
        self._dsn = dsn
        self._worker = worker
        self._session = Session(dsn=dsn, name=NAME)
        self._pause = FIRST_SECONDS

    async def run(self) -> None:
        """Wait until it is time, then scan if it is this worker's turn. Raises DatabaseUnavailable."""
        await asyncio.sleep(self._pause * random.uniform(0.8, 1.2))  # noqa: S311 - not all at once
        self._pause = AGAIN_SECONDS
        await self.run_once()
        self._pause = EVERY_SECONDS

    async def run_once(self, *, every: float = TURN_SECONDS) -> bool:
        """Scan if nobody has recently; returns whether it was this worker's turn. Raises DatabaseUnavailable."""
        try:
            turn = await begin_watch(self._session, self._worker, every, COMPLETE_SECONDS)
            if turn is None:
                return False
            if turn.complete:
                await follow(self._session)
            await note_successes(self._session)
            connection = await self._session.open()
            seen = await look_async(self._dsn, name=NAME, pressing=not turn.complete, connection=connection)
            found = seen.with_earlier(() if turn.complete else turn.before)
            if turn.complete or found != turn.before:
                await note_findings(self._session, self._worker, found, complete=turn.complete)
        finally:
            await self._session.close()
        tell(turn.before, found)
        return True


def tell(before: Sequence[dict[str, str]], found: Sequence[dict[str, str]]) -> None:
    """Log what is new and what is gone; hints are not troubles."""
    known, now = _troubles(before), _troubles(found)
    for key, one in now.items():
        if key not in known:
            log.warning("trouble_found", **one)
    for key, old in known.items():
        if key not in now:
            log.info("trouble_gone", check=old["check"], severity=old["severity"], object=old["object"])


def _troubles(findings: Sequence[dict[str, str]]) -> dict[tuple[str, str, str], dict[str, str]]:
    return {(one["check"], one["object"], one["severity"]): one for one in findings if one["severity"] != "hint"}
