"""Which steps of a durable run an exception is about."""

from __future__ import annotations

from pgsched.domain.durable import Name
from pgsched.domain.errors import EventTimeout, StepFailed

MANY = 1_000
"""Exceptions of a group that are looked at."""


def failed_steps(error: BaseException) -> set[Name]:
    """The steps whose failures an exception is, or is raised from, also as one of a group."""
    found: set[Name] = set()
    pending: list[BaseException | None] = [error]
    for one in pending:  # it grows
        if isinstance(one, StepFailed):
            found.add((one.step, one.key))
        elif isinstance(one, EventTimeout):
            found.add((one.event, one.key))
        if one is not None and len(pending) < MANY:
            pending += [one.__cause__, *(one.exceptions if isinstance(one, BaseExceptionGroup) else ())]
    return found
