"""The events of one durable run that no wait has taken yet, as far as they were loaded."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from pgsched.domain.durable import MAILBOX, Event


class Mailbox:
    """Events by their names, each name in the order in which waits take them."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, deque[Event]] = defaultdict(deque)
        self._known: set[int] = set()
        self._full: set[str] = set()

    def receive(self, events: Sequence[Event]) -> None:
        """Take what the table has; those that were received before are known."""
        numbers = Counter(event.name for event in events)
        self._full = {name for name, number in numbers.items() if number >= MAILBOX}
        for event in events:
            if event.id not in self._known:
                self._known.add(event.id)
                self._waiting[event.name].append(event)

    def take(self, name: str) -> Event | None:
        """Take the first event of a name; None when none is here."""
        found = self._waiting.get(name)
        return found.popleft() if found else None

    def has(self, name: str) -> bool:
        """Whether an event of this name is here."""
        return bool(self._waiting.get(name))

    def may_have_more(self, name: str) -> bool:
        """Whether the table may have further events of this name, which were not loaded."""
        return name in self._full
