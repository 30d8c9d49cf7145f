"""Saved views: named searches of tasks."""

from __future__ import annotations

from typing import Annotated

from fastapi import Path
from pydantic import Field, StrictStr
from starlette.responses import Response

from pgsched.web.api import examples
from pgsched.web.api.documented import answers, empty_answer, json_body, reply
from pgsched.web.api.routing import api_router
from pgsched.web.api.shapes import SavedViewShape, list_of
from pgsched.web.api.values import StrictModel
from pgsched.web.auth.access import AccessDenied, Actor, Operator, Viewer
from pgsched.web.services import changes

router = api_router("views")

ViewName = Annotated[str, Path(description="The name of the view.", examples=["dead-bills"])]

Views = list_of(SavedViewShape, "SavedViews", "Saved views by name.")


class ViewQuery(StrictModel):
    """The content of a view."""

    query: StrictStr = Field(
        description="Terms of the search language, such as `type:bill status:dead ended_after:24h`."
    )


@router.get("/views", summary="List saved views", responses=answers(Views, [examples.VIEW]))
async def list_views(actor: Viewer) -> Response:
    """Views are shared by all users of this database. Rejected for viewers when payloads are hidden: queries may quote
    payloads.
    """
    _check(actor)
    return reply(actor, await actor.client.views())


@router.get("/views/{name}", summary="Read a saved view", responses=answers(SavedViewShape, examples.VIEW, 404))
async def get_view(actor: Viewer, name: ViewName) -> Response:
    """Pass its query as `q` to lists of tasks."""
    _check(actor)
    return reply(actor, await actor.client.view(name))


@router.put(
    "/views/{name}",
    status_code=201,
    summary="Save a view or replace its query",
    responses=answers(SavedViewShape, examples.VIEW, 400, status=201, also="The view existed: its query is replaced."),
)
async def set_view(
    actor: Operator,
    name: ViewName,
    body: Annotated[ViewQuery, json_body(dead=("Dead bills", {"query": examples.VIEW["query"]}))],
) -> Response:
    """Relative times stay relative: they are evaluated when the view is opened."""
    now, change = await changes.set_view(actor, name, body.query)
    return reply(actor, now, status=201 if change.before is None else 200)


@router.delete("/views/{name}", status_code=204, summary="Delete a saved view", responses=empty_answer(404))
async def delete_view(actor: Operator, name: ViewName) -> Response:
    """Its tasks stay."""
    await changes.delete_view(actor, name)
    return Response(status_code=204)


def _check(actor: Actor) -> None:
    if not actor.sees_payloads:
        raise AccessDenied(403, "views may quote payloads, which are hidden from viewers")
