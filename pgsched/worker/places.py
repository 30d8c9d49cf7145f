"""Whose code runs, asked when something is logged; next to nothing is done for a task whose handler never waits.

What a handler starts (tasks, ``asyncio.to_thread``) has a copy of its context variables, and finds the place of its
attempt there. A variable set for each task costs a percent of a worker's speed, so attempts that never wait share the
place of their slot: while one runs, no task that another left behind can. Attempts of a type that has waited, or that
was never seen, get a place of their own, and so does the attempt after one that waited.
"""

from __future__ import annotations

from contextvars import ContextVar

from pgsched.worker.holds import Hold

_PLACE: ContextVar[Place | None] = ContextVar("pgsched place", default=None)


class Place:
    """Where the code of an attempt, or of several that never wait, finds the one that runs."""

    __slots__ = ("hold", "waited")

    def __init__(self) -> None:
        self.hold: Hold | None = None
        self.waited = False
        """Its attempt has waited: whatever that left behind must not meet another here."""


class Places:
    """The places of one worker's slots."""

    def __init__(self) -> None:
        self.quick: set[str] = set()
        """Task types of which attempts were made and none has waited."""
        self._slow: set[str] = set()

    def make(self, task_type: str | None = None) -> Place:
        """Return a new place, which the caller's code and what it starts find from now on."""
        if task_type is not None and task_type not in self._slow:
            self.quick.add(task_type)  # until one of them waits
        place = Place()
        _PLACE.set(place)
        return place

    def waits(self) -> None:
        """The attempt that calls this waits for the first time."""
        place = _PLACE.get()
        if place is not None and place.hold is not None:
            place.waited = True
            task_type = place.hold.task.task_type
            self.quick.discard(task_type)
            self._slow.add(task_type)


def current_hold() -> Hold | None:
    """Return the attempt that the caller is part of, also when it has ended; None when it is part of none."""
    place = _PLACE.get()
    return None if place is None else place.hold
