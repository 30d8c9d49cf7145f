"""Pages rendered from templates, which escape all values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jinja2
from fastapi import Request
from starlette.responses import HTMLResponse, Response
from starlette.templating import Jinja2Templates

from pgsched import __version__
from pgsched.web import parts
from pgsched.web.formats import FILTERS
from pgsched.web.paths import href
from pgsched.web.state import front_of
from pgsched.web.static_files import content_name
from pgsched.web.svg.charts import meter
from pgsched.web.svg.icons import icon
from pgsched.web.svg.series import sparkline

FOLDER = Path(__file__).parent


def make_templates() -> Jinja2Templates:
    """Return the templates of this package; an undefined name is an error, not empty text."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals.update(
        href=_href_in_template, static=_static_in_template, meter=meter, icon=icon, sparkline=sparkline
    )
    environment.filters.update(FILTERS)
    return Jinja2Templates(env=environment)


def page(request: Request, template: str, *, status: int = 200, **context: Any) -> Response:
    """Return a page, or its changed live parts if the browser sends the versions that it has.

    Available in the template: ``href('/tasks')``, ``static('app.css')``, ``request``, and the context.
    """
    templates = front_of(request).templates
    html = templates.get_template(template).render({"request": request, **context})
    known = request.headers.get(parts.HEADER)
    if known is None or status != 200:
        return HTMLResponse(parts.stamp(html), status)
    found = parts.differing(html, parts.read_known(known))
    return HTMLResponse(found) if found else Response(status_code=204)


@jinja2.pass_context
def _href_in_template(context: jinja2.runtime.Context, path: str) -> str:
    return href(context["request"], path)


@jinja2.pass_context
def _static_in_template(context: jinja2.runtime.Context, name: str) -> str:
    return href(context["request"], f"/static/{content_name()}/{name}")


def program() -> str:
    """The version of pgsched."""
    return __version__
