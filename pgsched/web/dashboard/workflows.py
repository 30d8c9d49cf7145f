"""Workflows: groups, and tasks that wait for others, as a graph."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from pgsched.db.queries import dashboard
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.forms import Text, optional_number
from pgsched.web.dashboard.shown import cut, link, show
from pgsched.web.paths import href
from pgsched.web.svg.graphs import draw, nodes_of

PER_PAGE = 50

router = APIRouter()


@router.get("/workflows")
async def workflows(actor: Viewer, before: Text = "") -> Response:
    """Show groups and tasks that wait for others, the latest first."""
    command = dashboard.list_workflows(before_id=optional_number("before", before), limit=PER_PAGE + 1)
    found, last = cut(await actor.client.database.run(command), PER_PAGE)
    following = last and link(actor, "/workflows", {"before": last.id})
    return show(actor, "workflows.html", at="workflows", tasks=found, following=following)


@router.get("/workflows/{id:int}")
async def workflow(actor: Viewer, id: int) -> Response:
    """Show the graph around one task."""
    nodes, edges, cut_off = nodes_of(await actor.client.tree(id))
    links = {node.id: href(actor.request, f"/tasks/{node.id}") for node in nodes}
    graph = draw(f"The tasks around task {id}", nodes, edges, links)
    return show(actor, "workflow.html", at="workflows", id=id, nodes=nodes, cut=cut_off, graph=graph)
