"""What pages count, shared by all who look at them, and some seconds old at most."""

from __future__ import annotations

from typing import NamedTuple

from fastapi import Request

from pgsched.db import page_commands
from pgsched.db.page_commands import QueueSurvey, TableSurvey, TypeSurvey
from pgsched.domain.records import Task, WorkerInfo
from pgsched.web.dashboard.history import History
from pgsched.web.services.cache import Cached
from pgsched.web.state import WebState, state_of

SECONDS = 5.0
STALLED = "2 minutes"
MAX_STALLED = 1_000


class Survey(NamedTuple):
    """The whole of it at one moment."""

    queues: list[QueueSurvey]
    types: list[TypeSurvey]
    dead: dict[str, int]
    table: TableSurvey
    stalled: list[Task]
    workers: list[WorkerInfo]


class Surveys:
    """The counts of one app."""

    def __init__(self, state: WebState) -> None:
        self._client = state.client
        self._cached = Cached(self._load, seconds=SECONDS)
        state.stack.push_async_callback(self._cached.close)
        self.history = History(lambda minutes: self._client.database.run(page_commands.count_executions(minutes)))

    async def get(self) -> Survey:
        """Return the counts."""
        return await self._cached.get()

    def forget(self) -> None:
        """Count afresh the next time: something was changed here."""
        self._cached.forget()

    async def _load(self) -> Survey:
        async with self._client.transaction() as one:  # of one connection: waited for once
            run = one.database.run
            return Survey(
                queues=await run(page_commands.survey_queues()),
                types=await run(page_commands.survey_types()),
                dead=await run(page_commands.survey_dead()),
                table=await run(page_commands.survey_table()),
                stalled=await run(page_commands.stalled_schedules(STALLED, MAX_STALLED)),
                workers=await one.workers(),
            )


def surveys_of(request: Request) -> Surveys:
    """The counts of the app that serves a request; made at the first."""
    state = request.app.state
    if not hasattr(state, "surveys"):
        state.surveys = Surveys(state_of(request))
    surveys: Surveys = state.surveys
    return surveys
