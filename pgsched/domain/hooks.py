"""Functions of the application that are called when something happens to a task."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from pgsched.domain.errors import RegistrationError
from pgsched.domain.events import EVENTS, Event

Hook = TypeVar("Hook", bound=Callable[[Event], Any])


class Hooks:
    """The hooks of one application, by event."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Callable[[Event], Any]]] = {}

    def add(self, event: str, function: Callable[[Event], Any]) -> None:
        """Call ``function`` at every such event. Raises RegistrationError when there is none of that name."""
        if event not in EVENTS:
            raise RegistrationError(f"event must be {', '.join(EVENTS[:-1])} or {EVENTS[-1]}, got {event!r:.100}")
        self._hooks.setdefault(event, []).append(function)

    def of(self, event: str) -> list[Callable[[Event], Any]]:
        """Return the functions for an event, in the order in which they were added."""
        return self._hooks.get(event, [])

    def __bool__(self) -> bool:
        return bool(self._hooks)
