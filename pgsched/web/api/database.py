"""The database itself: whether the tasks belong to it, and what lets workers start in a copy."""

from __future__ import annotations

from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, reply
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import DatabaseStateShape
from pgsched.web.auth.access import Actor, Operator, Viewer
from pgsched.web.services.audit import Change, audited

router = api_router("database")

Answers = answers(DatabaseStateShape, examples.DATABASE)


@router.get("/database", summary="Read whether the tasks belong to this database", responses=Answers)
async def get_database(actor: Viewer) -> Response:
    """`state` is original, copy, held or unnoted; `problem` says why workers do not start, null if they do."""
    return reply(actor, await actor.client.database_state())


@router.post("/database/adopt", summary="Let the tasks belong to this database", responses=Answers)
async def adopt_database(actor: Operator) -> Response:
    """Workers start here and run the tasks, even if the original of a copy runs them too. Also ends a hold."""
    async with audited(actor, "database.adopt") as change:
        change.nothing = not await change.client.adopt_database(adopted_by=actor.name)
        return await _noted(actor, change)


@router.post("/database/hold", summary="Keep workers from starting in this database", responses=Answers)
async def hold_database(actor: Operator) -> Response:
    """Until it is adopted; workers that run continue. For a copy of a whole server."""
    async with audited(actor, "database.hold") as change:
        change.nothing = not await change.client.hold_database(held_by=actor.name)
        return await _noted(actor, change)


async def _noted(actor: Actor, change: Change) -> Response:
    state = await change.client.database_state()
    change.after = {"state": state.state}
    return reply(actor, state)
