"""Finds the tasks that modules of installed apps define. Nothing is imported because a row names it."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from types import ModuleType
from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import module_has_submodule

from pgsched.integrations.django.api import ServedByPgsched, Task
from pgsched.integrations.django.conf import project_settings

MODULE = "tasks"
"""The module of an app that is searched for tasks."""

_found: dict[str, Task[Any, Any]] | None = None


def registered_tasks() -> Mapping[str, Task[Any, Any]]:
    """Return every task of a pgsched backend, by its module path; the modules are imported at the first call."""
    global _found
    tasks = _found
    if tasks is None:  # two threads may do it twice, with the same result
        tasks = {}
        for module in _modules():
            for value in vars(module).values():
                if isinstance(value, Task) and isinstance(value.get_backend(), ServedByPgsched):
                    tasks[value.module_path] = value
        _found = tasks
    return tasks


def find_task(module_path: str) -> Task[Any, Any] | None:
    """Return the task of this name, or None."""
    return registered_tasks().get(module_path)


def queues() -> list[str]:
    """Return the queues that the backends serve, sorted."""
    names: set[str] = set()
    for alias in getattr(settings, "TASKS", {}):
        backend = _backends()[alias]
        if isinstance(backend, ServedByPgsched):
            names |= backend.queues
    return sorted(names) or ["default"]


def _backends() -> Any:
    package = importlib.import_module(Task.__module__.partition(".base")[0])
    return package.task_backends


def _modules() -> list[ModuleType]:
    names = [
        f"{config.name}.{MODULE}"
        for config in apps.get_app_configs()
        if config.module is not None and module_has_submodule(config.module, MODULE)
    ]
    return [importlib.import_module(name) for name in [*names, *project_settings().task_modules]]


def _forget(*, setting: str, **_rest: Any) -> None:
    global _found
    if setting in ("INSTALLED_APPS", "TASKS", "PGSCHED"):
        _found = None


setting_changed.connect(_forget, dispatch_uid="pgsched")
