"""The description of the API in OpenAPI 3.1, written so that generated clients have good names."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any, Final

from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema

from pgsched.web.api import ROUTES
from pgsched.web.api.shapes import ProblemShape
from pgsched.web.rendering import program

TITLE: Final = "pgsched"
DESCRIPTION: Final = "A job queue and scheduler that needs PostgreSQL and nothing else."
_SECURITY: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A viewer's or operator's token, as configured for `pgsched web`. When none is configured, none "
        "is needed on the machine itself.",
    }
}
_OTHER_NAMES: Final = {"BackfillShape": "BackfilledTicks", "NumberShape": "Number", "MadeShape": "MadeTask"}
"""Names where the one without "Shape" is taken by a body, or is unclear."""


@cache
def described() -> dict[str, Any]:
    """Return FastAPI's description with the missing parts added: one for all apps, not to be changed."""
    found = get_openapi(title=TITLE, version=program(), description=DESCRIPTION, routes=ROUTES, servers=[{"url": "/"}])
    _, problem = models_json_schema([(ProblemShape, "serialization")], ref_template="#/components/schemas/{model}")
    components = found["components"]
    components["schemas"] |= problem["$defs"]
    components["securitySchemes"] = _SECURITY
    found["security"] = [{"token": []}, {}]
    named: dict[str, Any] = json.loads(_renamed(json.dumps(found)))
    return named


def _renamed(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        return f'"{found[1] or ""}{_OTHER_NAMES.get(found[2], found[2].removesuffix("Shape"))}"'

    return re.sub(r'"(#/components/schemas/)?([A-Z][A-Za-z]+Shape)"', name, text)
