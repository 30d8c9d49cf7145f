"""What a durable run needs of whoever records it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Any, Protocol

from pgsched.domain.durable import Ended, Event, Name, Record, RunId


class StepTransaction(Protocol):
    """The transaction of one transactional step."""

    @property
    def connection(self) -> Any:
        """What the function writes with."""

    async def commit(self, records: Sequence[Record]) -> None:
        """Record and commit. Raises NotCommitted; does not return when the claim was lost."""


class Checkpoints(Protocol):
    """Where runs are recorded."""

    async def record(self, records: Sequence[Record]) -> None:
        """Write records in one transaction. Does not return when the claim was lost: the attempt is cancelled."""

    async def start_child(self, run: RunId, name: Name, task: Mapping[str, Any], *, cancels: bool) -> int:
        """Make a child and record it; returns its id, that of the first call if there was one."""

    async def look(self, run: RunId) -> tuple[Sequence[Event], Mapping[int, Ended]]:
        """Return the events that no wait has consumed, and the children that are over."""

    def transaction(self, run: RunId, *, plain: bool) -> AbstractAsyncContextManager[StepTransaction]:
        """Begin a transaction for a step, rolled back unless it is committed."""

    def encode(self, task_type: str, payload: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return the payload of a child as JSON has it, where the annotations of its handler say how."""

    def span(self, name: str) -> AbstractContextManager[object]:
        """Return what is around the function that a step of this name calls."""

    def live_seconds(self) -> float:
        """How long a wait may keep its slot just now, in the hope of a quick answer."""
