"""The first page of a site with several databases: the state of each."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Final

from fastapi import APIRouter, Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from pgsched.db.queries.audit import list_entries
from pgsched.domain.errors import PgschedError
from pgsched.observability.logs import get_logger
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.overview import queue_rows, totals_of
from pgsched.web.dashboard.routing import page_router
from pgsched.web.paths import href
from pgsched.web.rendering import page
from pgsched.web.services.history import History
from pgsched.web.state import WebState

log = get_logger("pgsched.web")

PATIENCE: Final = 2.0
"""Seconds that the page waits for a database."""
IMPATIENCE: Final = 0.1
"""Seconds for one that failed to answer recently."""
DOWN_SECONDS: Final = 10.0
"""The meaning of recently, in seconds."""


@dataclass(frozen=True, kw_only=True)
class DatabaseHealth:
    """The state of a database."""

    name: str
    up: bool
    problem: str | None = None
    """Why nothing more is known."""
    errors: int = 0
    """Number of errors that the health checks find."""
    needs_attention: int = 0
    """Number of errors and warnings that they find."""
    throughput: float = 0.0
    """Attempts that ended per second, over the last minutes."""
    ready: int = 0
    active: int = 0
    failed: int = 0
    """Attempts that failed within the hour."""
    dead: int = 0
    """Dead letters."""
    workers: int = 0
    """Workers that are online."""


@dataclass(frozen=True, kw_only=True)
class Sums:
    """The figures of all databases that are up."""

    up: int
    throughput: float
    ready: int
    active: int
    failed: int
    dead: int
    workers: int

    @classmethod
    def of(cls, databases: Sequence[DatabaseHealth]) -> Sums:
        """Add them up."""
        return cls(
            up=sum(one.up for one in databases),
            throughput=sum(one.throughput for one in databases),
            ready=sum(one.ready for one in databases),
            active=sum(one.active for one in databases),
            failed=sum(one.failed for one in databases),
            dead=sum(one.dead for one in databases),
            workers=sum(one.workers for one in databases),
        )


class Databases:
    """The databases of a site."""

    def __init__(self, states: Mapping[str, WebState]) -> None:
        self._states = states
        self._down_since: dict[str, float] = {}

    async def health(self) -> list[DatabaseHealth]:
        """Return the state of each; one that does not answer in time is down."""
        return list(await asyncio.gather(*(self._health(name, state) for name, state in self._states.items())))

    async def any_up(self) -> bool:
        """Return whether at least one of them is available."""
        return any(await asyncio.gather(*(self._answers(state) for state in self._states.values())))

    async def _health(self, name: str, state: WebState) -> DatabaseHealth:
        down = time.monotonic() - self._down_since.get(name, float("-inf")) < DOWN_SECONDS
        try:
            async with asyncio.timeout(IMPATIENCE if down else PATIENCE):
                found = await _survey(name, state)
        except (PgschedError, TimeoutError) as error:
            if not down:
                log.warning("database_down", database=name, reason=str(error) or f"no answer within {PATIENCE:g} s")
                self._down_since[name] = time.monotonic()
            return DatabaseHealth(name=name, up=False, problem="It does not answer; see the server's log.")
        self._down_since.pop(name, None)
        return found

    async def _answers(self, state: WebState) -> bool:
        try:
            async with asyncio.timeout(PATIENCE):
                await state.client.database.run(list_entries(limit=1))
        except (PgschedError, TimeoutError):
            return False
        return True


async def _survey(name: str, state: WebState) -> DatabaseHealth:
    survey = await state.surveys.get()
    minutes = await state.surveys.history.minutes()
    severities = [finding.severity for finding in survey.diagnosis.findings]
    totals, rows = totals_of(minutes), queue_rows(survey)
    return DatabaseHealth(
        name=name,
        up=True,
        errors=severities.count("error"),
        needs_attention=severities.count("error") + severities.count("warning"),
        throughput=totals["rate"],
        failed=int(totals["failed"]),
        ready=sum(row["due"] for row in rows),
        active=sum(row["running"] for row in rows),
        dead=sum(survey.dead.values()),
        workers=sum(worker.alive for worker in survey.workers),
    )


router = page_router()
probes = APIRouter(include_in_schema=False)


@router.get("/")
async def show(actor: Viewer) -> Response:
    """Show the state of each database."""
    databases: Databases = actor.request.app.state.databases
    found = await databases.health()
    return page(
        actor.request,
        "databases.html",
        actor=actor,
        protected=actor.settings.protected,
        databases=found,
        sums=Sums.of(found),
        hour=History.MINUTES,
    )


@router.get("/api/v1/databases")
async def list_databases(actor: Viewer) -> Response:
    """Return the state of each database, and the path of its API."""
    databases: Databases = actor.request.app.state.databases
    found = await databases.health()
    return JSONResponse(
        {
            "databases": [asdict(one) | {"api": href(actor.request, f"/{one.name}/api/v1")} for one in found],
            "sums": asdict(Sums.of(found)),
        }
    )


@probes.api_route("/healthz", methods=["GET", "HEAD"])
async def healthz() -> Response:
    """Answer that the process runs; without a token, so no details."""
    return PlainTextResponse("ok\n")


@probes.api_route("/readyz", methods=["GET", "HEAD"])
async def readyz(request: Request) -> Response:
    """Answer whether at least one database is available; without a token, so no details."""
    databases: Databases = request.app.state.databases
    if await databases.any_up():
        return PlainTextResponse("ok\n")
    return PlainTextResponse("no database is available\n", status_code=503)
