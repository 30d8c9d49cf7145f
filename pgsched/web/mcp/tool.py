"""What a tool is: a function whose signature says what it takes and whose docstring says what it is for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from inspect import Parameter, getdoc, signature
from typing import Annotated, Any, Final, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from pgsched.domain.errors import shown
from pgsched.web.mcp.rest import Refused, Rest

MAX_ITEMS: Final = 100
_MAX_BIGINT: Final = 2**63 - 1

Work = Callable[..., Awaitable[Any]]
Id = Annotated[int, Field(ge=1, le=_MAX_BIGINT, description="The id of the task.")]
Limit = Annotated[int, Field(ge=1, le=MAX_ITEMS, description=f"The number of items, 1 to {MAX_ITEMS}.")]
Cursor = Annotated[
    str | None, Field(description="The next_cursor of the page before, with the same arguments otherwise.")
]
Reason = Annotated[
    str, Field(min_length=3, max_length=500, description="Why, in one sentence: the audit log keeps it.")
]


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A tool, ready to be listed and called."""

    name: str
    title: str
    description: str
    arguments: type[BaseModel]
    work: Work
    operator: bool
    """Whether an operator's token is needed."""
    changes: bool
    destructive: bool
    """Whether what it changes cannot be undone by another tool."""

    def schema(self) -> dict[str, Any]:
        """The JSON Schema of its arguments."""
        made = self.arguments.model_json_schema()
        made.pop("title", None)
        for one in made.get("properties", {}).values():
            one.pop("title", None)
        return {"properties": {}, **made}

    async def call(self, rest: Rest, given: dict[str, Any]) -> Any:
        """Do it. Raises Refused, with one line that names an argument and its rule."""
        try:
            arguments = self.arguments.model_validate(given)
        except ValidationError as error:
            raise Refused(_first_rule(error)) from None
        named = {name: getattr(arguments, name) for name in self.arguments.model_fields}
        for name, value in named.items():
            if isinstance(value, str) and not _is_unicode(value):
                raise Refused(f"{name}: must be Unicode text, got half of a surrogate pair")
        if self.changes:
            rest = rest.because(named.pop("reason"))
        return await self.work(rest, **named)


def tool(
    *, title: str, operator: bool = False, changes: bool = False, destructive: bool = False
) -> Callable[[Work], Tool]:
    """Make a tool of a function; the first parameter is the API, the others are what the tool takes.

    One that changes something takes a ``reason`` beside them.
    """

    def made(work: Work) -> Tool:
        hints = get_type_hints(work, include_extras=True)
        fields: dict[str, Any] = {}
        for name, parameter in list(signature(work).parameters.items())[1:]:
            fields[name] = (hints[name], ... if parameter.default is Parameter.empty else parameter.default)
        if changes:
            fields["reason"] = (Reason, ...)
        return Tool(
            name=work.__name__,
            title=title,
            description=" ".join((getdoc(work) or "").split()),
            arguments=create_model(work.__name__, __config__=ConfigDict(extra="forbid"), **fields),
            work=work,
            operator=operator or changes,
            changes=changes,
            destructive=destructive,
        )

    return made


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _first_rule(error: ValidationError) -> str:
    first = error.errors(include_url=False)[0]
    name = ".".join(str(one) for one in first["loc"]) or "arguments"
    value = first.get("input")
    got = f", got {shown(value)}" if isinstance(value, str | int | float | bool) else ""
    return f"{name}: {first['msg']}{got}"
