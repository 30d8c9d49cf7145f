"""What the description of the API says of every operation: its body and its answers, with examples."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from fastapi import Body
from pydantic import BaseModel
from starlette.responses import JSONResponse, Response

from pgsched.domain.records import to_json_able
from pgsched.web.api.fields import ALL, Fields
from pgsched.web.auth.access import Actor
from pgsched.web.auth.hiding import inside

_PROBLEM = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/ProblemShape"}}}
_PROBLEMS: Mapping[int, str] = {
    400: "The body cannot be read.",
    401: "A token is needed, or the one that was given is not known here.",
    403: "The token does not open this, or the request comes from another site's page.",
    404: "There is no such thing.",
    409: "The task's present status does not allow it; another task has the key; or schedules name the calendar.",
    412: "Somebody has edited it since it had the version that `If-Match` names.",
    415: "The body is not said to be JSON: `Content-Type: application/json`.",
    422: "A field or parameter breaks a rule: `detail` names field, value and rule.",
    429: "Too many wrong tokens came from this address: try again after `Retry-After` seconds.",
    503: "The database cannot be used at the moment.",
}
_ALWAYS = (401, 403, 422, 429, 503)

Responses = dict[int | str, dict[str, Any]]
Route = TypeVar("Route", bound=Callable[..., Awaitable[Response]])


def json_body(**examples: tuple[str, Any]) -> Any:
    """Say that a parameter is the body of a request; each example has a summary and a value."""
    return Body(openapi_examples={name: {"summary": said, "value": value} for name, (said, value) in examples.items()})


def answers(
    shape: type[BaseModel], example: Any, *errors: int, status: int = 200, also: str | None = None
) -> Responses:
    """Return the answers of an operation: what it gives, and which of the errors beside those that all have.

    ``also`` is when 200 is answered by one that otherwise gives ``status``.
    """
    content = {"application/json": {"example": example}}
    said: Responses = {status: {"model": shape, "content": content}}
    if also is not None:
        said[200] = {"model": shape, "description": also}
    return said | problems(*errors)


def empty_answer(*errors: int) -> Responses:
    """Return the answers of an operation that gives nothing back."""
    return {204: {"description": "Done."}} | problems(*errors)


def problems(*errors: int) -> Responses:
    """Return what is answered when something goes wrong: these errors, and those that every operation has."""
    codes = {*errors, *_ALWAYS} | ({415} if 400 in errors else set())  # of those that take a body
    return {code: {"description": _PROBLEMS[code], "content": _PROBLEM} for code in sorted(codes)}


class Record(Protocol):
    """What becomes JSON by itself."""

    def as_dict(self) -> Mapping[str, Any]:
        """Return the record as a JSON-able dictionary."""


def reply(
    actor: Actor,
    value: Record | Sequence[Record] | Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer of an operation, without what is not for this actor's eyes."""
    said = to_json_able(value)
    return JSONResponse(said if actor.sees_payloads else inside(said), status_code=status, headers=headers)


def reply_page(actor: Actor, items: Sequence[Record], next_cursor: str | None, fields: Fields = ALL) -> JSONResponse:
    """Return the answer of an operation that gives a page of a list, of each record these fields."""
    records = [fields.pick(one.as_dict()) for one in items]
    return reply(actor, {"items": records, "next_cursor": next_cursor})
