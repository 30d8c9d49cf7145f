"""What a worker does beside running tasks: shows progress, makes partitions, forgets dead workers."""

from __future__ import annotations

from time import monotonic

from pgsched.db import outcomes, upkeep
from pgsched.db.leases import forget_dead
from pgsched.db.outcomes import LogEntry, Progress
from pgsched.db.session import Session
from pgsched.worker.finisher import Finisher
from pgsched.worker.holds import RUNNING, Holds

REPORT_SECONDS = 0.5
"""How often what handlers report is written."""
ANNOUNCE_SECONDS = 2.0
"""How soon a worker that hears no notifications learns that a queue announces its events, or no longer does."""
ANNOUNCE_HEARD_SECONDS = 60.0
"""How often one asks that hears of it anyway."""
HOUSEKEEPING_SECONDS = 600.0
"""How often partitions are made ahead and dead workers forgotten."""


class Reporter:
    """Writes what running handlers report of themselves."""

    def __init__(self, *, session: Session, holds: Holds) -> None:
        self._session = session
        self._holds = holds

    async def tick(self) -> int:
        """Write progress and log lines that came since the last tick; returns how many there were.

        Raises DatabaseUnavailable, and keeps everything for the next tick.
        """
        shown: list[Progress] = []
        lines: list[LogEntry] = []
        contexts = []
        for hold in self._holds.snapshot():
            if hold.state != RUNNING or hold.context is None:
                continue
            progress, logged = hold.context.take_report()
            task = hold.task
            if progress is not None:
                shown.append(Progress(task.id, task.fencing_token, progress))
            if progress is not None or logged:
                contexts.append((hold.context, progress, logged))
                lines.extend(LogEntry(task.id, task.fencing_token, task.attempts, line) for line in logged)
        if not shown and not lines:
            return 0
        try:
            await outcomes.report(self._session, shown, lines, monotonic())
        except BaseException:
            for context, progress, logged in contexts:
                context.give_back(progress, logged)
            raise
        return len(shown) + len(lines)


class Announcer:
    """Knows the queues whose events other programs are told."""

    def __init__(self, *, session: Session, finisher: Finisher) -> None:
        self._session = session
        self._finisher = finisher
        self._look_at = 0.0
        self.heard = False
        """Whether notifications come in: then a change of a queue's settings is heard of."""

    def look_again(self) -> None:
        """The settings of a queue have changed: ask at the next tick."""
        self._look_at = 0.0

    async def tick(self, *, now: bool = False) -> None:
        """Ask which queues these are, if the last answer is old or at once. Raises DatabaseUnavailable."""
        begun = monotonic()
        if now or begun >= self._look_at:
            self._look_at = begun + (ANNOUNCE_HEARD_SECONDS if self.heard else ANNOUNCE_SECONDS)
            self._finisher.announced = await upkeep.list_announced_queues(self._session)


class Housekeeper:
    """Keeps the tables in order for everyone; harmless to run in every worker."""

    def __init__(self, *, session: Session) -> None:
        self._session = session

    async def tick(self) -> None:
        """Make the history's partitions of the days to come, forget workers that died. Raises DatabaseUnavailable."""
        await upkeep.make_partitions(self._session)
        await forget_dead(self._session)
