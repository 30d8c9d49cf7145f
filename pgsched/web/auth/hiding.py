"""What a viewer does not see where payloads are hidden."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

SECRET: Final = frozenset({"payload", "metadata", "result", "progress", "last_error", "error", "message", "fields"})
"""Fields of tasks, executions and log lines that hold what callers and handlers wrote."""


def hidden(record: Mapping[str, Any]) -> dict[str, Any]:
    """Return a record as JSON has it with null for what is hidden, in the records that it holds too."""
    return {name: None if name in SECRET else inside(value) for name, value in record.items()}


def inside(value: Any) -> Any:
    """Return a value of JSON with null for what is hidden in the records that it holds."""
    if isinstance(value, Mapping):
        return hidden(value)
    return [inside(item) for item in value] if isinstance(value, list) else value
