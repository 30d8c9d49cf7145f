"""Receives notifications: rows that may be claimed, cancelled tasks, changed settings of queues."""

from __future__ import annotations

import asyncio
import re
from dataclasses import dataclass
from uuid import UUID

from pgsched.db.notifications import CANCEL, EMITTED, QUEUES, WORKERS, BehindPooler, Notification, listen
from pgsched.observability.logs import get_logger
from pgsched.worker.claimer import Claimer
from pgsched.worker.durable_runs import DurableRuns
from pgsched.worker.heartbeat import Heartbeat
from pgsched.worker.housekeeping import EventBroadcaster
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.limited_claims import LimitedClaims
from pgsched.worker.loops import Loop
from pgsched.worker.metrics import WorkerMetrics

log = get_logger("pgsched.worker")

POOLER_SECONDS = 600.0
"""How often a worker behind a pooler checks whether it can LISTEN after all."""


@dataclass(kw_only=True, eq=False, repr=False)
class Listener:
    """Listens on its own connection, and passes on what it receives."""

    dsn: str
    chosen: bool
    """Whether the DSN was given for this purpose only."""
    loop: Loop
    counts: WorkerMetrics
    leased_tasks: LeasedTasks
    limited_claims: LimitedClaims
    claimer: Claimer
    broadcaster: EventBroadcaster
    durable_runs: DurableRuns
    heartbeat: Heartbeat
    worker: UUID

    async def run_once(self) -> None:
        """Listen until the connection is lost. Raises DatabaseUnavailable."""
        try:
            await listen(self.dsn, on_ready=self._ready, on_notification=self.notified, chosen=self.chosen)
        except BehindPooler:
            log.warning("polls_only", reason="a pooler answers", hint="set --listen-dsn to a DSN of the server itself")
            await asyncio.sleep(POOLER_SECONDS)
        finally:
            self._hear(False)

    def notified(self, told: Notification) -> None:
        """Act on a notification: a cancel, changed settings of a queue, or a row that may be claimed."""
        if told.channel == CANCEL:
            leased = self.leased_tasks.get(int(told.payload)) if re.fullmatch("[0-9]{1,19}", told.payload) else None
            if leased is not None:
                log.info("task_cancelled", task_id=leased.task.id, task_type=leased.task.task_type)
                self.leased_tasks.abandon(leased)
                self.limited_claims.look_after_end()
        elif told.channel == EMITTED:
            if re.fullmatch("[0-9]{1,19}", told.payload):
                self.durable_runs.told(int(told.payload))
        elif told.channel == QUEUES:
            self._settings_changed()
        elif told.channel == WORKERS:
            if told.payload == str(self.worker):
                self.heartbeat.hurry()
        else:
            self.claimer.wake_for(told.payload)

    def _ready(self) -> None:
        self._hear(True)
        self.loop.worked()
        self._settings_changed()
        self.durable_runs.look_again()

    def _hear(self, hears: bool) -> None:
        self.counts.listener_connected = hears
        self.broadcaster.hear(hears)
        self.claimer.hear(hears)

    def _settings_changed(self) -> None:
        self.claimer.wake_after_change()
        self.broadcaster.look_again()
