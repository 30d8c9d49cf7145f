"""The body and the answers of every operation in the description of the API, with examples."""

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
    401: "A token is required, or the given one is unknown.",
    403: "The token does not permit this, or the request comes from a page of another site.",
    404: "The object does not exist.",
    409: "The task's status does not allow it; another task has the key; or schedules use the calendar.",
    412: "The object was edited after the version that `If-Match` names.",
    415: "The body is not declared as JSON: `Content-Type: application/json`.",
    422: "A field or parameter breaks a rule: `detail` names field, value and rule.",
    429: "Too many wrong tokens came from this address: try again after `Retry-After` seconds.",
    503: "The database is not available at the moment.",
}
_ALWAYS = (401, 403, 422, 429, 503)

Responses = dict[int | str, dict[str, Any]]
Route = TypeVar("Route", bound=Callable[..., Awaitable[Response]])


def json_body(**examples: tuple[str, Any]) -> Any:
    """Declare that a parameter is the body of a request; each example has a summary and a value."""
    return Body(openapi_examples={name: {"summary": said, "value": value} for name, (said, value) in examples.items()})


def answers(
    shape: type[BaseModel], example: Any, *errors: int, status: int = 200, also: str | None = None
) -> Responses:
    """Return the answers of an operation: its result, these errors, and those that all operations have.

    ``also`` describes the answer 200 of an operation that otherwise answers with ``status``.
    """
    content = {"application/json": {"example": example}}
    said: Responses = {status: {"model": shape, "content": content}}
    if also is not None:
        said[200] = {"model": shape, "description": also}
    return said | problems(*errors)


def empty_answer(*errors: int) -> Responses:
    """Return the answers of an operation without a result."""
    return {204: {"description": "Done."}} | problems(*errors)


def problems(*errors: int) -> Responses:
    """Return the error answers: these errors, and those that every operation has."""
    codes = {*errors, *_ALWAYS} | ({415} if 400 in errors else set())  # Operations with a body.
    return {code: {"description": _PROBLEMS[code], "content": _PROBLEM} for code in sorted(codes)}


class Record(Protocol):
    """Types that JSON represents directly."""

    def as_dict(self) -> Mapping[str, Any]:
        """Return the record as a JSON-able dictionary."""


def reply(
    actor: Actor,
    value: Record | Sequence[Record] | Mapping[str, Any],
    *,
    status: int = 200,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """Return the answer of an operation, without the fields that are hidden from this actor."""
    said = to_json_able(value)
    return JSONResponse(said if actor.sees_payloads else inside(said), status_code=status, headers=headers)


def reply_page(actor: Actor, items: Sequence[Record], next_cursor: str | None, fields: Fields = ALL) -> JSONResponse:
    """Return the answer of an operation that returns a page of a list, with these fields of each record."""
    records = [fields.pick(one.as_dict()) for one in items]
    return reply(actor, {"items": records, "next_cursor": next_cursor})
