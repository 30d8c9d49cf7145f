"""The identity of a worker, as ``pgsched.workers`` shows it."""

from __future__ import annotations

import os
import socket
from collections.abc import Sequence
from uuid import uuid4

from pgsched.db.worker.leases import Identity
from pgsched.domain.attempt import GROUP
from pgsched.domain.settings import WorkerSettings
from pgsched.execution.registry import CATCH_ALL, Registry
from pgsched.worker.declared_schedules import declared_keys
from pgsched.worker.queue_rotation import QueueRotation


def with_own_queues(queues: Sequence[str], registry: Registry) -> tuple[str, ...]:
    """Return queues, and those that the options and declared schedules of handlers name."""
    named = {handler.options.get("queue") for handler in registry}
    named |= {spec.queue for handler in registry for spec in handler.schedules}
    return (*queues, *sorted({name for name in named if name is not None} - set(queues)))


def new_identity(registry: Registry, rotation: QueueRotation, settings: WorkerSettings) -> Identity:
    """Return the identity of a new worker in this process."""
    return Identity(
        id=uuid4(),
        hostname=socket.gethostname(),
        pid=os.getpid(),
        queues=rotation.exact,
        patterns=rotation.likes,
        task_types=(*registry.task_types, GROUP, *([CATCH_ALL] if CATCH_ALL in registry else [])),
        context_types=tuple(handler.task_type for handler in registry if handler.shows_context),
        catches_with_context=any(handler.task_type == CATCH_ALL and handler.shows_context for handler in registry),
        declared_keys=declared_keys(registry),
        concurrency=settings.concurrency,
        lease=settings.lease,
        code_version=registry.version,
    )
