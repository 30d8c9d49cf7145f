"""``fields=id,status``: only the requested fields of each record, so that a list of large payloads stays small."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Final, NamedTuple

from fastapi import Query
from pydantic import BaseModel

from pgsched.domain.errors import InvalidTask
from pgsched.domain.validation import refused

FIELDS: Final = (
    "Only these fields of each record, separated by commas, such as `id,status,next_run_at`; the default is all."
)
LARGE: Final = ("payload", "metadata", "progress", "result", "last_error")
"""Columns that may be long, and are read only when requested."""

ChosenFields = Annotated[str | None, Query(description=FIELDS)]


class Fields(NamedTuple):
    """The fields of each record in an answer; None: all."""

    names: tuple[str, ...] | None = None

    @classmethod
    def of(cls, shape: type[BaseModel], text: str | None) -> Fields:
        """Parse the parameter. Raises InvalidTask, naming a field that records of this shape do not have."""
        if text is None:
            return cls()
        names = tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
        if not names:
            raise InvalidTask("must name at least one field", field="fields")
        for name in names:
            if name not in shape.model_fields:
                raise refused("fields", f"be some of {', '.join(shape.model_fields)}", name)
        return cls(names)

    @property
    def left_out(self) -> Sequence[str]:
        """The large columns that need not be read."""
        return () if self.names is None else [name for name in LARGE if name not in self.names]

    def pick(self, record: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the requested fields of the record."""
        return record if self.names is None else {name: record[name] for name in self.names}


ALL: Final = Fields()
