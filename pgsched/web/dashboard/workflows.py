"""Workflows: groups, and tasks that wait for others, as a graph."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import Response

from pgsched.db import page_commands
from pgsched.web.auth.access import Viewer
from pgsched.web.dashboard.forms import optional_number
from pgsched.web.dashboard.shown import client_of, link, run, show
from pgsched.web.paths import href
from pgsched.web.svg.graphs import draw, nodes_of

PER_PAGE = 50

router = APIRouter()


@router.get("/workflows")
async def workflows(request: Request, actor: Viewer) -> Response:
    """Show groups and tasks that wait for others, the latest first."""
    before = optional_number("before", request.query_params.get("before"))
    found = await run(request, page_commands.list_workflows(before_id=before, limit=PER_PAGE + 1))
    following = None
    if len(found) > PER_PAGE:
        found = found[:PER_PAGE]
        following = link(request, "/workflows", {"before": found[-1].id})
    return show(request, actor, "workflows.html", at="workflows", tasks=found, following=following)


@router.get("/workflows/{id:int}")
async def workflow(request: Request, actor: Viewer, id: int) -> Response:
    """Show the graph around one task."""
    tree = await client_of(request).tree(id)
    nodes, edges, cut = nodes_of(tree)
    links = {node.id: href(request, f"/tasks/{node.id}") for node in nodes}
    return show(
        request,
        actor,
        "workflow.html",
        at="workflows",
        id=id,
        nodes=nodes,
        edges=edges,
        cut=cut,
        graph=draw(f"The tasks around task {id}", nodes, edges, links),
    )
