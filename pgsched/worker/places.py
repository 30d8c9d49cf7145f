"""Whose code runs, asked when something is logged.

What a handler starts (tasks, ``asyncio.to_thread``) has a copy of its context variables, and so finds its attempt.
"""

from __future__ import annotations

from contextvars import ContextVar

from pgsched.worker.leased_tasks import LeasedTask

CURRENT: ContextVar[LeasedTask | None] = ContextVar("pgsched attempt", default=None)
"""Set once in the task of each attempt."""


def current_hold() -> LeasedTask | None:
    """Return the attempt that the caller is part of, also when it has ended; None when it is part of none."""
    return CURRENT.get()
