"""The claims of one worker, which no row can stop: a row that fails is found, and ended or set aside."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from math import inf
from time import monotonic
from typing import TypeVar

from pgsched.db.error_mapping import (
    RefusedByDatabase,
    RefusedByServer,
    is_about_the_server,
    is_impaired_state,
    is_passing_state,
)
from pgsched.db.session import Session
from pgsched.db.worker import claims, leases
from pgsched.db.worker.claims import Answer, Batch, Due, Pair, Tried
from pgsched.db.worker.leases import Identity
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.dead_letters import DeadLetters
from pgsched.worker.halves import FEW, in_halves
from pgsched.worker.leased_tasks import LeasedTasks
from pgsched.worker.rulebook import Rulebook
from pgsched.worker.scan import Look
from pgsched.worker.set_aside import SetAside

log = get_logger("pgsched.worker")

MAX_SET_ASIDE = 10_000
"""Maximum number of rows that claims pass over. At this number a failed claim is retried unchanged."""
MAX_BYTES = 16 * 1024 * 1024
"""Maximum size of the payloads in hand, as JSON text; parsed they take several times as much memory."""
MAX_RETRIED = 1_000
"""Number of rows that are retried at once."""
LOOK_SECONDS = 30.0
"""How often to search for rows that a claim skips without an error because a trigger drops the update."""
PATIENCE = 3
"""Consecutive claims that fail with an error about the server before the rows are searched for the cause."""

T = TypeVar("T")


class Claims:
    """Claims as in :mod:`pgsched.db.worker.claims`, contained.

    When the database rejects a claim, each row is claimed by itself. A row whose claim fails is ended as dead with the
    database's message; where that is rejected as well, the row is set aside: passed over, and retried later.
    """

    def __init__(
        self,
        *,
        session: Session,
        identity: Identity,
        dead_letters: DeadLetters,
        leased_tasks: LeasedTasks,
        clock: DatabaseClock,
    ) -> None:
        self._session = session
        self._identity = identity
        self._dead_letters = dead_letters
        self._leased = leased_tasks
        self._clock = clock
        self.rulebook = Rulebook(session)
        self._failed = 0
        self.unanswered = False
        """A claim was sent but never answered: it may have taken rows."""
        self._look_at = self._look_limited_at = 0.0
        self.set_aside: SetAside[None] = SetAside("claim")
        self._suspects: set[int] = set()
        """Locked rows whose lease the database rejected when their batch ended."""

    @property
    def ids(self) -> Sequence[int]:
        """The rows that claims pass over."""
        if self._suspects:
            return [*self.set_aside.ids, *self._suspects]
        return self.set_aside.ids if self.set_aside else ()

    @property
    def due_in(self) -> float:
        """Seconds until a row that is set aside is retried; infinite when there is none."""
        return self.set_aside.due_in() if self.set_aside else inf

    @property
    def room_in_bytes(self) -> int:
        """The maximum size of the payloads of the next claim."""
        return max(MAX_BYTES - self._leased.bytes, 1)

    def suspect(self, ids: Iterable[int]) -> None:
        """Pass over rows that could not be leased, until each was claimed by itself."""
        self._suspects.update(ids)

    async def claim(self, look: Look, limit: int, *, free: int, max_bytes: int) -> Batch:
        """Claim up to ``limit`` due rows and hold them; ``free`` of them can start at once.

        Raises DatabaseUnavailable.
        """
        sent = monotonic()
        unanswered, self.unanswered = self.unanswered, True

        async def ask(limit: int) -> Batch:
            return await claims.claim(
                self._session, self._identity, look.probes, limit, free=free, max_bytes=max_bytes, set_aside=self.ids
            )

        async def find(limit: int) -> list[Due]:
            return await claims.find_claimable(self._session, self._identity, look.probes, limit, set_aside=self.ids)

        batch = await self._contained(ask, find, limit) or Batch([], [], again=True)
        all_seen = len(batch.tasks) < limit and not any(task.cut for task in batch.tasks[:1])
        if all_seen and look.sweeps and monotonic() >= self._look_at:  # in every part of a search
            while len(self.set_aside) < MAX_SET_ASIDE and await self._put_dropped_away(find, limit):
                batch = batch._replace(again=True)  # the rows behind them
            if look.ends:
                self._look_at = monotonic() + LOOK_SECONDS
        await self.rulebook.learn(batch.tasks)
        self.take(batch, sent, free)
        self.unanswered = unanswered
        return batch

    async def find_due_pairs(self) -> list[Pair]:
        """Search for the queues and priorities in which rows are due, or will be. Raises DatabaseUnavailable."""
        return await claims.find_due_pairs(self._session)

    async def claim_limited(
        self,
        rooms: Sequence[tuple[str, int]],
        room: int,
        *,
        max_bytes: int,
        take: Callable[[Batch, list[Answer]], None],
    ) -> None:
        """Claim up to ``room`` rows from limited queues and hand them over. Raises DatabaseUnavailable."""
        unanswered, self.unanswered = self.unanswered, True

        async def ask(limit: int) -> tuple[Batch, list[Answer]]:
            return await claims.claim_limited(
                self._session, self._identity, rooms, limit, max_bytes=max_bytes, set_aside=self.ids
            )

        async def find(limit: int) -> list[Due]:
            return await claims.find_claimable_limited(self._session, self._identity, rooms, limit, set_aside=self.ids)

        batch, answers = await self._contained(ask, find, room) or (Batch([], [], again=True), [])
        if len(batch.tasks) < room and monotonic() >= self._look_limited_at:
            dropped = await self._put_dropped_away(find, room)
            self._look_limited_at = 0.0 if dropped else monotonic() + LOOK_SECONDS
        await self.rulebook.learn(batch.tasks)
        take(batch, answers)
        self.unanswered = unanswered

    def take(self, batch: Batch, sent: float, free: int) -> None:
        """Hold rows, ``free`` of which can start at once."""
        leased_until = sent + self._identity.lease
        if batch.tasks:
            self._clock.set(batch.tasks[0].database_time, sent)
            self._leased.add(self.rulebook.marked(batch.tasks), leased_until, sent, free)
        for task, problem in batch.spoiled:
            self._dead_letters.spoiled(self._leased.take(task, leased_until, sent), problem)

    async def retry(self) -> None:
        """Retry rows that were set aside long enough. Raises DatabaseUnavailable.

        None of them is ended: the cause may be fixed at any moment, and then they must run.
        """
        if self._suspects:
            suspects = list(self._suspects)
            await self._put_away(await claims.try_claims(self._session, self._identity, suspects))
            self._suspects.difference_update(suspects)
        due = self.set_aside.due()[:MAX_RETRIED]
        if not due:
            return
        tried = await claims.try_claims(self._session, self._identity, [entry.task_id for entry in due])
        self._put_aside([one for one in tried if one.state is not None])
        states = {one.id: one.state for one in tried}
        for entry in due:
            if states.get(entry.task_id) is None:
                self.set_aside.forget(entry.task_id)
                if entry.task_id in states:
                    self.set_aside.hurry(entry.reason)  # the cause for other rows may be gone as well

    def lost_answer(self) -> None:
        """Note that a claim sent elsewhere was never answered."""
        self.unanswered = True

    async def release_orphaned(self, queues: Sequence[str]) -> None:
        """Release what unanswered claims took. Raises DatabaseUnavailable."""
        held = [*(leased.task.id for leased in self._leased.snapshot()), *self._leased.given_up]
        found = await leases.find_orphaned_claims(self._session, self._identity, held, queues=queues)

        async def release(part: Sequence[leases.Lease]) -> None:
            await leases.release(self._session, self._identity.id, part)

        for lease, error in await in_halves(found, release):
            log.warning("release_failed", task_id=lease.id, error=str(error), hint="its lease expires")
        self.unanswered = False

    async def _contained(
        self, ask: Callable[[int], Awaitable[T]], find: Callable[[int], Awaitable[list[Due]]], limit: int
    ) -> T | None:
        """Return an answer of ``ask``; None when there is none, but one row fewer is in the way."""
        try:
            return await self._ask(ask, limit)
        except DatabaseUnavailable as error:
            if not self._is_about_rows(error) or len(self.set_aside) >= MAX_SET_ASIDE:
                raise
            found = await find(limit)
            if not found:
                raise
            tried = await claims.try_claims(self._session, self._identity, [row.id for row in found])
            the_server = tried and all(one.state is not None and is_about_the_server(one.state) for one in tried)
            # With only a few rows the error may be about them, if the server accepts writes.
            if the_server and (len(tried) > FEW or not await claims.takes_writes(self._session, self._identity)):
                raise
            if await self._put_away(tried):
                return None
            # Each could be claimed by itself. Try fewer of them together, until the first one is the cause.
            limit, said = len(found), error
        while limit > 1:
            limit //= 2
            try:
                return await self._ask(ask, limit)
            except RefusedByDatabase as error:
                said = error
        (first, *_) = await find(1) or found
        self.set_aside.put(first.id, first.task_type, first.queue, None, str(said))
        return None

    async def _put_dropped_away(self, find: Callable[[int], Awaitable[list[Due]]], limit: int) -> bool:
        """Search for due rows that were left behind because they cannot be claimed; returns whether there were some."""
        left = await find(limit)
        return bool(left) and await self._put_away(
            await claims.try_claims(self._session, self._identity, [row.id for row in left])
        )

    async def _ask(self, ask: Callable[[int], Awaitable[T]], limit: int) -> T:
        self._failed += 1
        answer = await ask(limit)
        self._failed = 0
        return answer

    def _is_about_rows(self, error: DatabaseUnavailable) -> bool:
        """Whether a row may have made a claim fail. A trigger may raise an error that otherwise concerns the server."""
        if isinstance(error, RefusedByDatabase):
            return True
        return self._failed >= PATIENCE and isinstance(error, RefusedByServer)

    async def _put_away(self, tried: Sequence[Tried]) -> bool:
        """End or set aside the rows whose claim was rejected; returns whether there are some."""
        refused = [one for one in tried if one.state is not None]
        the_tables = len(refused) == len(tried) > FEW
        lasting = [] if the_tables else [one for one in refused if not is_passing_state(one.state or "")]
        gone = await self._dead_letter(lasting)
        self._put_aside([one for one in refused if one.id not in gone])
        return bool(refused)

    def _put_aside(self, refused: Sequence[Tried]) -> None:
        for one in refused:
            locked = (one.state or "").startswith("55")
            impaired = is_impaired_state(one.state or "")
            reason = one.message or ""
            self.set_aside.put(one.id, one.task_type, one.queue, None, reason, locked=locked, impaired=impaired)

    async def _dead_letter(self, refused: Sequence[Tried]) -> set[int]:
        """End rows as dead; returns the ids of those that are dead, or belong to somebody else by now."""
        if not refused:
            return set()
        errors = {one.id: f"the task cannot be claimed: {one.message}" for one in refused}
        answers = {one.id: one for one in await claims.dead_letter_unclaimed(self._session, errors)}
        gone = set()
        for one in refused:
            answer = answers.get(one.id)
            if answer is not None and answer.refused is not None:
                continue
            gone.add(one.id)
            if answer is not None:
                known = {"id": one.id, "task_type": one.task_type, "queue": one.queue, "attempts": answer.attempts}
                self._dead_letters.unclaimed(claims.unread_task(**known), errors[one.id])
        return gone
