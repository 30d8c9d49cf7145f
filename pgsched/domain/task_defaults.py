"""Tasks that a caller describes, completed by what their task_type has unless he says otherwise."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from pgsched.domain.task_spec import TaskOptions, TaskSpec

Defaults = Callable[[str], TaskOptions]
"""Returns the options that a task_type has unless the caller says otherwise."""


def no_defaults(_task_type: str) -> TaskOptions:
    """No options for any task_type."""
    return TaskOptions()


def spec_with(task_type: str, payload: Mapping[str, Any] | None, options: TaskOptions, defaults: Defaults) -> TaskSpec:
    """Return the task that a caller describes, completed by the defaults of its task_type."""
    return TaskSpec(task_type=task_type, payload=payload, **options).with_defaults(defaults(task_type))


def specs_with(specs: Iterable[TaskSpec], defaults: Defaults) -> Iterable[TaskSpec]:
    """Return the tasks completed by the defaults of their task_types."""
    if defaults is no_defaults:
        return specs
    return [spec.with_defaults(defaults(spec.task_type)) if isinstance(spec, TaskSpec) else spec for spec in specs]
