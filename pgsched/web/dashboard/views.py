"""Saved views: named searches of tasks, and short links to them."""

from __future__ import annotations

from starlette.responses import RedirectResponse, Response

from pgsched.domain.errors import InvalidTask
from pgsched.web.auth.access import Operator, Viewer
from pgsched.web.dashboard.forms import Form
from pgsched.web.dashboard.routing import page_router
from pgsched.web.dashboard.shown import done, link, show
from pgsched.web.services.changes import delete_view, set_view

router = page_router()


@router.get("/v/{name}")
async def view(actor: Viewer, name: str) -> Response:
    """Redirect to the list of tasks of a view."""
    found = await actor.client.view(name)
    return RedirectResponse(link(actor, "/tasks", {"q": found.query}), status_code=303)


@router.get("/views")
async def views(actor: Viewer, name: str = "", query: str = "") -> Response:
    """Show the saved views, and the form that saves one."""
    typed = {"name": name, "query": query}
    return show(actor, "views.html", at="tasks", views=await actor.client.views(), fields=typed)


@router.post("/views")
async def save(actor: Operator, form: Form) -> Response:
    """Save a view or replace its query."""
    typed = {name: form.get(name, "").strip() for name in ("name", "query")}
    try:
        await set_view(actor, typed["name"], typed["query"])
    except InvalidTask as error:
        known = await actor.client.views()
        return show(actor, "views.html", at="tasks", problem=str(error), views=known, fields=typed)
    return done(actor, "/views", "view")


@router.post("/views/delete")
async def delete(actor: Operator, form: Form) -> Response:
    """Delete a view."""
    await delete_view(actor, form.get("name", ""))
    return done(actor, "/views", "view_delete")
