"""The description of the API in OpenAPI 3.1, so that a client that is generated from it reads well."""

from __future__ import annotations

import json
import re
from typing import Any, Final

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from fastapi.routing import APIRoute
from pydantic.json_schema import models_json_schema

from pgsched.web.api.shapes import ProblemShape

_SECURITY: Final = {
    "token": {
        "type": "http",
        "scheme": "bearer",
        "description": "A viewer's or operator's token, as `pgsched web` was given. Without any set none is needed on "
        "the machine itself.",
    }
}
_OTHER_NAMES: Final = {"BackfillShape": "BackfilledTicks", "NumberShape": "Number", "MadeShape": "MadeTask"}
"""Where the name without "Shape" is that of a body, or says too little."""


def operation_id(route: APIRoute) -> str:
    """Return the name of an operation, which is that of its function in a generated client: ``list_tasks``."""
    return route.name


def described(app: FastAPI) -> dict[str, Any]:
    """Return the description that FastAPI makes, with what it does not write. It is made once."""
    if app.openapi_schema is None:
        found = get_openapi(
            title=app.title, version=app.version, description=app.description, routes=app.routes, servers=[{"url": "/"}]
        )
        _, problem = models_json_schema([(ProblemShape, "serialization")], ref_template="#/components/schemas/{model}")
        components = found["components"]
        components["schemas"] |= problem["$defs"]
        components["securitySchemes"] = _SECURITY
        found["security"] = [{"token": []}, {}]
        app.openapi_schema = json.loads(_renamed(json.dumps(found)))
    return app.openapi_schema


def _renamed(text: str) -> str:
    def name(found: re.Match[str]) -> str:
        return f'"{found[1] or ""}{_OTHER_NAMES.get(found[2], found[2].removesuffix("Shape"))}"'

    return re.sub(r'"(#/components/schemas/)?([A-Z][A-Za-z]+Shape)"', name, text)
