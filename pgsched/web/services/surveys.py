"""Counters for pages, shared by all readers, and at most some seconds old."""

from __future__ import annotations

from datetime import datetime
from typing import Final, NamedTuple

from pgsched.client.async_client import AsyncClient
from pgsched.db.queries import dashboard
from pgsched.db.queries.dashboard import QueueSurvey, TypeSurvey
from pgsched.db.queries.queues import count_tasks
from pgsched.domain.records import StatusCount
from pgsched.domain.worker_records import WorkerInfo
from pgsched.ops.doctor.doctor import judge_answered
from pgsched.ops.doctor.facts import questions
from pgsched.ops.doctor.findings import Diagnosis
from pgsched.web.services.cache import Cached
from pgsched.web.services.history import History

SECONDS = 5.0
ASKED: Final = ("version", "queues", "types", "workers", "front", "backlogs")
"""The doctor's checks that pages run with each survey; the others run less often, in a query of their own."""


class Survey(NamedTuple):
    """All counters at one moment."""

    now: datetime
    """The time of the database."""
    queues: list[QueueSurvey]
    types: list[TypeSurvey]
    workers: list[WorkerInfo]
    dead: dict[str, int]
    statuses: list[StatusCount]
    about_rows: int
    diagnosis: Diagnosis
    """The doctor's findings."""

    @property
    def paused(self) -> set[str]:
        """The names of the paused queues."""
        return {queue.name for queue in self.queues if queue.paused}


class Surveys:
    """The counters of one app."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client
        self._cached = Cached(self._load, seconds=SECONDS)
        self.history = History(lambda minutes: client.database.run(dashboard.count_executions(minutes)))
        self.get = self._cached.get
        self.forget = self._cached.forget
        self.close = self._cached.close

    async def _load(self) -> Survey:
        async with self._client.transaction() as one:  # On one connection: waited for once.
            run = one.database.run
            now = await run(dashboard.begin_look())
            asked = questions(now)
            found = {name: await run(asked[name]) for name in ASKED}
            return Survey(
                now=now,
                queues=found["queues"],
                types=found["types"],
                workers=found["workers"],
                dead=await run(dashboard.survey_dead()),
                statuses=await run(count_tasks()),
                about_rows=await run(dashboard.survey_table()),
                diagnosis=judge_answered(found, now, standby=self._client.database.standby),
            )
