"""Makes databases the shards of one system, and moves a tenant between them while it works.

docs/shards.md describes the protocol. Every step can be repeated, so a move that was killed is run again; two processes
that move the same tenant at once share the work, and do none of it twice.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from pgsched.db.database import Database
from pgsched.db.queries import shards as commands
from pgsched.domain.errors import ConfigError, DatabaseUnavailable, PgschedError, TransitionRefused
from pgsched.domain.records import Record
from pgsched.domain.shards import ARRIVING, HERE, LEAVING, LEFT, KnownShard, Placement, read_map

BATCH = 500
"""Tasks of one transaction."""
PAUSE = 0.1
"""Seconds between two looks at what is waited for."""


class MoveUnfinished(PgschedError):
    """A move had to wait for longer than it was given. It continues when it is run again."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved(Record):
    """What a move has done."""

    tenant_id: str
    source: str
    target: str
    tasks: int
    """Tasks that this call has moved."""
    staying: int
    """Tasks that stay in the source, where they end."""
    seconds: float


def init_shards(databases: Mapping[str, Database]) -> list[KnownShard]:
    """Store in each database which shards there are, and which one it is; return them.

    The first call decides among which shards the hash chooses: these. A shard that is added by a later call gets only
    tenants that are moved to it. Raises ConfigError when a database is another shard already, or one is missing.
    """
    said = {name: database.run(commands.list_shards()) for name, database in databases.items()}
    for name, shards in said.items():
        here = next((one.name for one in shards if one.is_here), name)
        if here != name:
            raise ConfigError(f"the database that is given as {name} is shard {here}")
        if missing := sorted({one.name for one in shards} - set(databases)):
            raise ConfigError(f"shard {name} knows a shard {missing[0]}: give the DSNs of all shards")
    hashed = sorted({one.name for shards in said.values() for one in shards if one.is_hashed}) or sorted(databases)
    for name, database in databases.items():
        database.run(commands.set_shards(name, sorted(databases), hashed))
    first = next(iter(databases.values()))
    return first.run(commands.list_shards())


@dataclass(frozen=True, slots=True)
class _Plan:
    source: str
    target: str
    version: int
    withdrawn: tuple[str, ...] = ()
    """The shards where another move was announced that did not go on."""


class Move:
    """One move of a tenant to the shard ``target``.

    ``timeout`` is how long it may wait for open transactions and running schedules. ``before`` is called with the name
    of each step before it is taken.
    """

    def __init__(
        self,
        databases: Mapping[str, Database],
        tenant_id: str,
        target: str,
        *,
        timeout: float = 60.0,
        batch: int = BATCH,
        before: Callable[[str], object] = lambda _step: None,
    ) -> None:
        if target not in databases:
            raise ConfigError(f"must be one of {', '.join(databases)}", field="the target", value=target)
        self._databases = databases
        self._tenant = tenant_id
        self._target_name = target
        self._timeout = timeout
        self._batch = batch
        self._before = before
        self._moved = 0

    def run(self) -> Moved:
        """Move the tenant, or finish its move. Raises TransitionRefused while it moves elsewhere, MoveUnfinished."""
        began = time.monotonic()
        plan = self._plan()
        staying = 0
        if plan is not None:
            source, target = self._databases[plan.source], self._databases[plan.target]
            if self._announce(plan, source, target):
                deadline = time.monotonic() + self._timeout
                self._wait_for_inserts(plan, source, deadline)
                while not self._cut_over(plan, source, target):
                    self._transfer(plan, source, target, deadline)
            self._before("open the target")
            target.run(commands.set_placement(self._said(plan, HERE), from_state=ARRIVING))
            self._withdraw(plan)
            staying = source.run(commands.count_remaining(self._tenant)).staying
        return Moved(
            tenant_id=self._tenant,
            source=self._target_name if plan is None else plan.source,
            target=self._target_name,
            tasks=self._moved,
            staying=staying,
            seconds=round(time.monotonic() - began, 3),
        )

    def _plan(self) -> _Plan | None:
        """Return the move that has begun, or a new one; None when the tenant is there."""
        self._before("read the placements")
        shards, said = {}, {}
        for name, database in self._databases.items():
            try:
                shards[name] = database.run(commands.list_shards())
                said[name] = database.run(commands.list_placements(self._tenant))
            except DatabaseUnavailable as error:
                raise DatabaseUnavailable(f"shard {name}, and a move needs all of them: {error}") from None
        known = read_map({name: (shards[name], said[name]) for name in said})
        names = {one.name for one in next(iter(shards.values()))}
        if missing := sorted(names - set(self._databases)):
            raise ConfigError(f"there is no DSN for shard {missing[0]}: give the DSNs of all shards")
        stated = {name: found[0] for name, found in said.items() if found}
        latest = max((one.version for one in stated.values()), default=0)
        for name, one in stated.items():
            if one.version < latest or one.state not in (LEAVING, LEFT):
                continue
            arrival = stated.get(one.shard)
            if one.state == LEAVING or (arrival and arrival.version == latest and arrival.state == ARRIVING):
                if one.shard != self._target_name:
                    raise TransitionRefused(f"tenant {self._tenant} is moving to shard {one.shard}: finish that first")
                return _Plan(name, one.shard, latest, _announced(stated, name, one.shard))
        home = known.home(self._tenant)
        if home != self._target_name:
            return _Plan(home, self._target_name, latest + 1, _announced(stated, home, self._target_name))
        if announced := _announced(stated, home):
            stays = _Plan(home, home, latest + 1, announced)
            # Unless another move has begun in the meantime, which does the same at its end.
            if self._databases[home].run(commands.set_placement(self._said(stays, HERE), from_state=HERE)):
                self._withdraw(stays)
        return None

    def _withdraw(self, plan: _Plan) -> None:
        """Let the shards refuse the tenant again to which a move was announced whose mover died at once."""
        for name in plan.withdrawn:
            self._before("withdraw another move")
            self._databases[name].run(commands.set_placement(self._said(plan, LEFT), from_state=ARRIVING))

    def _said(self, plan: _Plan, state: str) -> Placement:
        peer = plan.source if state in (ARRIVING, HERE) else plan.target
        return Placement(tenant_id=self._tenant, state=state, shard=plan.target, peer=peer, version=plan.version)

    def _announce(self, plan: _Plan, source: Database, target: Database) -> bool:
        """Open the target for tasks without keys, then close the source; return whether there is something to move."""
        self._before("announce the arrival")
        target.run(commands.set_placement(self._said(plan, ARRIVING), from_state=ARRIVING))
        self._before("close the source")
        if source.run(commands.set_placement(self._said(plan, LEAVING), from_state=LEAVING)):
            return True
        found = source.run(commands.list_placements(self._tenant))
        if found and (found[0].version, found[0].state, found[0].shard) == (plan.version, LEFT, plan.target):
            return False
        raise TransitionRefused(f"another move of tenant {self._tenant} has begun")

    def _wait_for_inserts(self, plan: _Plan, source: Database, deadline: float) -> None:
        """Wait for the transactions that may have inserted before the source was closed."""
        self._before("wait for open transactions")
        xmax = source.run(commands.read_snapshot_xmax())
        while not source.run(commands.has_snapshot_passed(xmax)):
            if time.monotonic() > deadline:
                raise MoveUnfinished(
                    f"the move of tenant {self._tenant} waits for a transaction that has been open in the server of "
                    f"shard {plan.source} since before it: end that, and run the move again"
                )
            time.sleep(PAUSE)

    def _transfer(self, plan: _Plan, source: Database, target: Database, deadline: float) -> None:
        """Move everything that can be moved at the moment, batch by batch."""
        after = 0
        while True:
            self._deliver(plan, source, target)
            self._before("park a batch")
            with source.transaction() as one:
                self._check(one, plan, LEAVING)
                parked = one.run(commands.park_tasks(self._tenant, after_id=after, limit=self._batch))
            if not parked:
                break
            after = max(parked)
        remaining = source.run(commands.count_remaining(self._tenant))
        if remaining.movable:
            if time.monotonic() > deadline:
                raise MoveUnfinished(
                    f"the move of tenant {self._tenant} waits for {remaining.movable} tasks in shard {plan.source}: "
                    "schedules whose tick runs, or rows that are locked; run it again later"
                )
            time.sleep(PAUSE)

    def _deliver(self, plan: _Plan, source: Database, target: Database) -> None:
        while found := source.run(commands.list_departing(self._tenant, limit=self._batch)):
            self._before("deliver a batch")
            with target.transaction() as one:
                self._check(one, plan, ARRIVING)
                one.run(commands.lock_arrivals())
                self._moved += one.run(commands.receive_tasks(plan.source, self._tenant, found))
            self._before("forget a batch")
            source.run(commands.forget_departed(self._tenant, [task.id for task in found]))

    def _check(self, one: Database, plan: _Plan, state: str) -> None:
        """Lock the statement of the move: what a mover has read that was suspended meanwhile may be outdated."""
        if not one.run(commands.lock_placement(self._tenant, plan.version, state)):
            raise TransitionRefused(f"the move of tenant {self._tenant} was finished by another process")

    def _cut_over(self, plan: _Plan, source: Database, target: Database) -> bool:
        """Reserve the keys of what stays, and end the move in the source; False when there is something to move."""
        if source.run(commands.count_remaining(self._tenant)).movable:
            return False
        self._before("reserve keys")
        kept = [one for one in source.run(commands.list_kept_keys(self._tenant)) if one.shard != plan.target]
        for part in _parts(kept, 10 * self._batch):
            with target.transaction() as one:
                self._check(one, plan, ARRIVING)
                one.run(commands.reserve_keys(self._tenant, part))
        self._before("end the move in the source")
        with source.transaction() as one:
            if not one.run(commands.set_placement(self._said(plan, LEFT), from_state=LEAVING)):
                raise TransitionRefused(f"the move of tenant {self._tenant} was finished by another process")
            # Nobody parks tasks any more. Is there one that has not arrived?
            if one.run(commands.list_departing(self._tenant, limit=1)):
                one.run(commands.set_placement(self._said(plan, LEAVING), from_state=LEFT))
                return False
        return True


def _announced(stated: Mapping[str, Placement], *but: str) -> tuple[str, ...]:
    return tuple(name for name, one in stated.items() if one.state == ARRIVING and name not in but)


def _parts(kept: Sequence[commands.KeptKey], size: int) -> list[Sequence[commands.KeptKey]]:
    return [kept[at : at + size] for at in range(0, len(kept), size)]
