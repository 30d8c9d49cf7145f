"""The loaded events of one durable run that no wait has consumed yet."""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Sequence

from pgsched.domain.durable import MAILBOX, Event


class Mailbox:
    """Events by name, each name in the order in which waits consume them."""

    def __init__(self) -> None:
        self._waiting: defaultdict[str, deque[Event]] = defaultdict(deque)
        self._known: set[int] = set()
        self._full: set[str] = set()

    def receive(self, events: Sequence[Event]) -> None:
        """Add what the table has; events received before are skipped."""
        numbers = Counter(event.name for event in events)
        self._full = {name for name, number in numbers.items() if number >= MAILBOX}
        for event in events:
            if event.id not in self._known:
                self._known.add(event.id)
                self._waiting[event.name].append(event)

    def take(self, name: str) -> Event | None:
        """Take the first event of a name; None when there is none."""
        found = self._waiting.get(name)
        return found.popleft() if found else None

    def has(self, name: str) -> bool:
        """Whether there is an event of this name."""
        return bool(self._waiting.get(name))

    def may_have_more(self, name: str) -> bool:
        """Whether the table may have further events of this name that were not loaded."""
        return name in self._full
