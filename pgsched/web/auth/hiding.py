"""Fields that are hidden from viewers when payloads are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SECRET: Final = frozenset({"payload", "metadata", "result", "progress", "last_error", "error", "message", "fields"})
"""Fields of tasks, executions and log lines that contain data of callers and handlers."""


def hidden(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON with null for hidden fields, including those of nested records."""
    return {name: None if name in SECRET else inside(value) for name, value in record.items()}


def inside(value: Any) -> Any:
    """Return a JSON value with null for the hidden fields of its records."""
    if isinstance(value, Mapping):
        return hidden(value)
    return [inside(item) for item in value] if isinstance(value, list) else value
