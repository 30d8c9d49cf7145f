"""The interface of task backends: Django's own from 6.0 on, otherwise that of the package django-tasks.

If both are installed, the package is used if it is in ``INSTALLED_APPS``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from django.conf import settings


def _has_its_own() -> bool:
    try:
        import django.tasks  # noqa: F401
    except ImportError:
        return False
    return "django_tasks" not in settings.INSTALLED_APPS


if TYPE_CHECKING or not _has_its_own():
    from django_tasks.backends.base import BaseTaskBackend
    from django_tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django_tasks.exceptions import InvalidTaskError, TaskResultDoesNotExist
    from django_tasks.signals import task_enqueued, task_finished, task_started
    from django_tasks.utils import normalize_json
else:
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskContext, TaskError, TaskResult, TaskResultStatus
    from django.tasks.exceptions import InvalidTask as InvalidTaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json

__all__ = [
    "BaseTaskBackend",
    "InvalidTaskError",
    "ServedByPgsched",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "normalize_json",
    "task_enqueued",
    "task_finished",
    "task_started",
]


class ServedByPgsched(BaseTaskBackend):
    """Base class of pgsched's backends, so that their tasks are found without importing them."""
