"""The next claim of a queue with limits, made in the transaction that ends a task of it.

A slot that a limit allows is empty from the end of one task to the begin of the next: for the write of the end, and for
the claim after it. In one transaction they cost one commit and one way to the server. Whatever goes wrong with it, the
finish is written again without, and the claimer claims as ever.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from time import monotonic

from pgsched.db.session import Rows
from pgsched.db.worker.claims import claim_limited_command, read_claim_limited
from pgsched.db.worker.completions import Command
from pgsched.domain.attempt import Finish
from pgsched.worker.claimer import Claimer


class ClaimOnFinish:
    """Claims for the claimer on the completer's session, while the claimer asks nothing itself."""

    def __init__(self, *, claimer: Claimer, free: Callable[[], int], on_claimed: Callable[[], None]) -> None:
        """``free`` says how many slots have nothing to do."""
        self._claimer = claimer
        self._free = free
        self._on_claimed = on_claimed
        self._sent = 0.0
        self._rows: Rows | None = None

    def command(self, finishes: Sequence[Finish]) -> tuple[Command, Callable[[Rows], None]] | None:
        """The claim that follows these finishes; None when none is of a queue with limits, or no slot is free."""
        self._rows = None
        asked, room = self._claimer.reserve([finish.id for finish in finishes], self._free())
        if not asked:
            return None
        self._sent = monotonic()
        return claim_limited_command(
            self._claimer.identity,
            asked,
            room,
            max_bytes=self._claimer.room_in_bytes,
            set_aside=self._claimer.claims.ids,
        ), self._keep

    def _keep(self, rows: Rows) -> None:
        self._rows = rows

    def take(self) -> None:
        """The finishes are written: what was claimed with them goes to the slots."""
        rows, self._rows = self._rows, None
        if self._claimer.settle(None if rows is None else read_claim_limited(rows), self._sent):
            self._on_claimed()
