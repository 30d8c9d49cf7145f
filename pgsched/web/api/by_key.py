"""The routes of one task again, addressed by its idempotency key instead of its id."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from inspect import Signature, signature
from typing import Annotated, Any, get_type_hints
from urllib.parse import unquote

from fastapi import APIRouter, Depends, Path
from fastapi.routing import APIRoute
from starlette.responses import Response

from pgsched.web.api.routing import API, api_router
from pgsched.web.auth.access import Viewer

_ONE_TASK = API + "/tasks/{id}"
_BY_KEY = "/tasks/by-key/{key}"

Endpoint = Callable[..., Awaitable[Response]]


async def id_of_key(
    actor: Viewer,
    key: Annotated[
        str,
        Path(
            description="The idempotency_key of the task, percent-encoded: a slash in it is %2F. "
            "A task that was deleted is found by the key that it had.",
            examples=["invoice-7"],
        ),
    ],
) -> int:
    """A dependency: the id of the task with the percent-encoded key in the path. Raises TaskNotFound."""
    return await actor.client.task_id(unquote(key))


IdOfKey = Annotated[int, Depends(id_of_key)]


def by_key(routers: Iterable[APIRouter]) -> APIRouter:
    """Return the routes of a task with its key in place of its id. Match them first: "by-key" could be an id."""
    known = api_router()
    for router in routers:
        for route in router.routes:
            if isinstance(route, APIRoute) and route.path.startswith(_ONE_TASK):
                known.add_api_route(
                    _BY_KEY + route.path.removeprefix(_ONE_TASK),
                    _taking_key(route.endpoint),
                    methods=list(route.methods or ()),
                    name=f"{route.name}_by_key",
                    status_code=route.status_code,
                    response_model=None,
                    responses={**route.responses, **_not_found(route)},
                    tags=route.tags,
                    summary=f"{route.summary}, by its key",
                    description=route.description,
                )
    return known


def _not_found(route: APIRoute) -> dict[int | str, dict[str, Any]]:
    return {} if 404 in route.responses else {404: {"description": "No task has this key."}}


def _taking_key(endpoint: Endpoint) -> Endpoint:
    hints = get_type_hints(endpoint, include_extras=True)
    parameters = [
        one.replace(annotation=IdOfKey if name == "id" else hints[name])
        for name, one in signature(endpoint).parameters.items()
    ]

    async def with_id(**given: Any) -> Response:
        return await endpoint(**given)

    with_id.__signature__ = Signature(parameters, return_annotation=Response)  # type: ignore[attr-defined]
    return with_id
