"""Finds the steps of a durable run that an exception comes from."""

from __future__ import annotations

from pgsched.domain.durable import Name
from pgsched.domain.errors import EventTimeout, StepFailed

MANY = 1_000
"""Maximum number of exceptions of a group that are examined."""


def failed_steps(error: BaseException) -> set[Name]:
    """Return the steps whose failures an exception is or was raised from, including members of exception groups."""
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
