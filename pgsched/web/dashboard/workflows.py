"""Workflows: groups and tasks with dependencies, as a list, as a graph and over time."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from fastapi import Query
from starlette.responses import Response

from pgsched.db.queries import dashboard
from pgsched.db.queries.overviews import WORKFLOW_STATES, WorkflowRow, list_workflow_attempts, list_workflows
from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Actor, Viewer
from pgsched.web.dashboard.forms import Text, given, optional_number
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import cut, link, show
from pgsched.web.paths import href
from pgsched.web.svg.gantt import MAX_ROWS, gantt
from pgsched.web.svg.graphs import MAX_SHOWN, Edge, Node, draw, fold, nodes_of

PER_PAGE = 50
MAX_OPENED = 100
LISTED = 1_000
"""Maximum number of tasks in the list below the graph."""

router = page_router()


@router.get("/workflows")
async def workflows(actor: Viewer, before: Text = "") -> Response:
    """Show workflows with their progress, the latest first."""
    fields = given(actor.request.query_params, "queue", "search", "status")
    found = await actor.client.database.run(
        list_workflows(
            status=fields.get("status"),
            queue=fields.get("queue"),
            search=fields.get("search"),
            before_id=optional_number("before", before),
            limit=PER_PAGE + 1,
        )
    )
    rows, last = cut(found.rows, PER_PAGE)
    onwards = found.next_before if last is None else last.task.id
    now = (await actor.state.surveys.get()).now
    return show(
        actor,
        "workflows.html",
        at="workflows",
        fields=fields,
        states=WORKFLOW_STATES,
        rows=[_row(one, now) for one in rows],
        following=onwards and link(actor, "/workflows", {**fields, "before": onwards}),
        searched_on=last is None,
    )


def _row(one: WorkflowRow, now: datetime) -> dict[str, Any]:
    """Return a row with its duration, so far for a running workflow."""
    told = {name: getattr(one, name) for name in WorkflowRow.__slots__}
    if one.began_at is None or (one.ended_at is None and one.state not in ("running", "blocked")):
        return told | {"seconds": None}
    return told | {"seconds": max(((one.ended_at or now) - one.began_at).total_seconds(), 0.0)}


@router.get("/workflows/{id:int}")
async def workflow(
    actor: Viewer, id: int, view: Text = "graph", open: Annotated[tuple[int, ...], Query(max_length=MAX_OPENED)] = ()
) -> Response:
    """Show the tasks around one: as a graph in which similar tasks share a box, or over time."""
    if view not in ("graph", "time"):
        raise InvalidTask("must be graph or time", field="view")
    nodes, edges, cut_off = nodes_of(await actor.client.tree(id))
    counted = {status: sum(one.status == status for one in nodes) for status in WORKFLOW_STATES}
    context: dict[str, Any] = {
        "id": id,
        "view": view,
        "number": len(nodes),
        "counted": {status: number for status, number in counted.items() if number},
        "failed": [one for one in nodes if one.status == "dead"][:10],
        "nodes": nodes[:LISTED],
        "cut": cut_off,
        "views": [(name, link(actor, f"/workflows/{id}", {"view": name})) for name in ("graph", "time")],
    }
    drawn = await _in_time(actor, nodes) if view == "time" else _graph(actor, id, nodes, edges, open)
    return show(actor, "workflow.html", at="workflows", **context, **drawn)


async def _in_time(actor: Actor, nodes: list[Node]) -> dict[str, Any]:
    async with actor.client.transaction() as client:
        now = await client.database.run(dashboard.begin_look())
        attempts = await client.database.run(list_workflow_attempts([node.id for node in nodes]))
    return {"gantt": gantt(nodes, attempts, now), "most_rows": MAX_ROWS}


def _graph(actor: Actor, id: int, nodes: list[Node], edges: list[Edge], opened: tuple[int, ...]) -> dict[str, Any]:
    boxes, between = fold(nodes, edges, opened)
    left_out = max(len(boxes) - MAX_SHOWN, 0)
    shown = boxes[:MAX_SHOWN]
    known = {one.id for one in shown}
    links = {
        one.id: link(actor, f"/workflows/{id}", {"open": [*opened, one.id]})
        if one.members
        else href(actor.request, f"/tasks/{one.id}")
        for one in shown
    }
    graph = draw(f"The tasks around task {id}", shown, [edge for edge in between if known.issuperset(edge)], links)
    closed = link(actor, f"/workflows/{id}", {}) if opened else None
    return {
        "graph": graph,
        "left_out": left_out,
        "closed": closed,
        "folds": [one for one in shown if one.members],
        "links": links,
    }
