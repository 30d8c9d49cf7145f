"""Workers: their queues and load; and the doctor: problems and their remedies."""

from __future__ import annotations

from uuid import UUID

from starlette.exceptions import HTTPException
from starlette.responses import Response

from pgsched.db.queries.activity import MAX_RUNNING, RunningTask
from pgsched.ops.doctor.catalogue import CHECKS
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, show
from pgsched.web.services.copied import why_no_worker_starts
from pgsched.web.services.workers import ask_worker, find_worker

router = page_router()


@router.get("/workers")
async def workers(actor: Viewer) -> Response:
    """Show every worker, and the types without a handler."""
    survey, standby = await actor.state.surveys.get(), actor.client.database.standby
    running = await actor.state.running.get()
    by_worker: dict[str, list[RunningTask]] = {}
    for task in running:
        by_worker.setdefault(str(task.worker_id), []).append(task)
    unhandled = [one for one in survey.types if one.due and not one.handled and not standby]
    return show(
        actor,
        "workers.html",
        at="workers",
        workers=survey.workers,
        running=by_worker,
        unhandled=unhandled,
        standby=standby,
        copied=await why_no_worker_starts(actor.client),
    )


@router.get("/workers/{id:uuid}")
async def worker(actor: Viewer, id: UUID) -> Response:
    """Show one worker, and its running tasks."""
    one = await find_worker(actor.client, id)
    running = await actor.client.running_tasks(id)
    return show(actor, "worker.html", at="workers", worker=one, running=running, most=MAX_RUNNING)


@router.post("/workers/{id:uuid}/{verb}")
async def ask(actor: Operator, id: UUID, verb: str) -> Response:
    """Pause, drain or resume a worker."""
    if verb not in ("pause", "drain", "resume"):
        raise HTTPException(404, "there is no such page")
    await ask_worker(actor, verb, id)
    return done(actor, f"/workers/{id}", f"worker_{verb}")


@router.get("/doctor")
async def doctor(actor: Viewer) -> Response:
    """Show every finding, and every check."""
    diagnosis = await actor.state.diagnosis.get()
    states = {one.check: one.state for one in diagnosis.checks}
    return show(
        actor,
        "doctor.html",
        at="doctor",
        copied=await why_no_worker_starts(actor.client),
        findings=diagnosis.findings,
        checks=[{"check": check, "state": states[check.name]} for check in CHECKS],
    )
