"""Building blocks of requests: models that reject unknown fields, and values that JSON has no type for."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, StrictFloat, StrictInt, StrictStr, WithJsonSchema
from pydantic_core import PydanticCustomError


class StrictModel(BaseModel):
    """A part of a request; unknown fields are rejected."""

    model_config = ConfigDict(extra="forbid")


def read_moment(value: Any) -> datetime:
    """Return an instant in ISO 8601 with a time zone."""
    if isinstance(value, str):
        try:
            moment = datetime.fromisoformat(value.upper())
        except ValueError:
            moment = None
        if moment is not None and moment.utcoffset() is not None:
            return moment
    raise PydanticCustomError("moment", "must be a time with a zone, such as 2026-01-31T08:00:00Z")


Moment = Annotated[
    datetime,
    BeforeValidator(read_moment),
    WithJsonSchema({"type": "string", "format": "date-time", "description": "ISO 8601 with a time zone."}),
]
Duration = Annotated[
    StrictInt | StrictFloat | StrictStr,
    WithJsonSchema(
        {
            "anyOf": [{"type": "number"}, {"type": "string"}],
            "description": 'Seconds, or text such as "90s", "15m", "1h30m", "1d".',
        }
    ),
]
Age = Annotated[
    StrictStr,
    WithJsonSchema(
        {"type": "string", "description": 'Text with a unit, such as "7d" or "12h"; a bare number is rejected.'}
    ),
]
Count = Annotated[
    StrictInt | StrictStr,
    WithJsonSchema(
        {
            "anyOf": [{"type": "integer", "minimum": 0, "maximum": 2147483647}, {"const": "forever"}],
            "description": "A number, or `forever`: all.",
        }
    ),
]
