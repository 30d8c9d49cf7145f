"""Commands about shards and the moves of tenants. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from pgsched.db.query import Command, command, nothing, rows_as, value
from pgsched.domain.shards import KnownShard, Placement
from pgsched.domain.validation import text_of

_tenant = text_of(1000)


class Departing(NamedTuple):
    """A task on its way to another shard."""

    id: int
    task: str
    """Its row as JSON text."""


class Remaining(NamedTuple):
    """What is left of a tenant that is leaving."""

    movable: int
    staying: int


class KeptKey(NamedTuple):
    """The idempotency key of a task that stays where it is."""

    shard: str
    id: int
    key: str


def list_shards() -> Command[list[KnownShard]]:
    """Read which shards there are."""
    return command("list_shards", rows_as(KnownShard))


def set_shards(here: str, names: Sequence[str], hashed: Sequence[str]) -> Command[None]:
    """Write which shards there are, and which of them the database is."""
    return command("set_shards", nothing, here=here, names=list(names), hashed=list(hashed))


def list_placements(tenant_id: str | None = None) -> Command[list[Placement]]:
    """Read what the database says of tenants that were moved, or of one of them."""
    return command("list_placements", rows_as(Placement), tenant_id=tenant_id)


def set_placement(placement: Placement, *, from_state: str) -> Command[bool]:
    """Write the state of a move; returns whether it was written: a newer move, or another state, stays."""
    return command(
        "set_placement",
        lambda rows: bool(rows),
        tenant_id=str(_tenant("tenant_id", placement.tenant_id)),
        state=placement.state,
        shard=placement.shard,
        peer=placement.peer,
        version=placement.version,
        from_state=from_state,
    )


def lock_placement(tenant_id: str, version: int, state: str) -> Command[bool]:
    """Lock a move in this state for the rest of the transaction; returns whether it is in it."""
    return command("lock_placement", lambda rows: bool(rows), tenant_id=tenant_id, version=version, state=state)


def read_snapshot_xmax() -> Command[str]:
    """Read the number of the next transaction."""
    return command("read_snapshot_xmax", value("xmax"))


def has_snapshot_passed(xmax: str) -> Command[bool]:
    """Read whether all transactions before this number are over."""
    return command("has_snapshot_passed", value("passed"), xmax=xmax)


def park_tasks(tenant_id: str, *, after_id: int, limit: int) -> Command[list[int]]:
    """Take tasks from the source; returns their ids."""
    return command(
        "park_tasks",
        lambda rows: [row["id"] for row in rows],
        tenant_id=tenant_id,
        after_id=after_id,
        limit=limit,
    )


def list_departing(tenant_id: str, *, limit: int) -> Command[list[Departing]]:
    """Read parked tasks."""
    return command(
        "list_departing",
        lambda rows: [Departing(row["id"], row["task"]) for row in rows],
        tenant_id=tenant_id,
        limit=limit,
    )


def lock_arrivals() -> Command[None]:
    """Become the only transaction that inserts tasks of other shards."""
    return command("lock_arrivals", nothing)


def receive_tasks(shard: str, tenant_id: str, found: Sequence[Departing]) -> Command[int]:
    """Insert tasks that came from ``shard``; returns how many had not arrived before."""
    return command(
        "receive_tasks",
        len,
        shard=shard,
        tenant_id=tenant_id,
        ids=[one.id for one in found],
        tasks=[one.task for one in found],
    )


def forget_departed(tenant_id: str, ids: Sequence[int]) -> Command[None]:
    """Delete parked tasks that have arrived."""
    return command("forget_departed", nothing, tenant_id=tenant_id, ids=list(ids))


def count_remaining(tenant_id: str) -> Command[Remaining]:
    """Count what is left in the source."""
    return command(
        "count_remaining", lambda rows: Remaining(rows[0]["movable"], rows[0]["staying"]), tenant_id=tenant_id
    )


def list_kept_keys(tenant_id: str) -> Command[list[KeptKey]]:
    """Read the keys of the tasks that stay."""
    return command(
        "list_kept_keys",
        lambda rows: [KeptKey(row["shard"], row["id"], row["idempotency_key"]) for row in rows],
        tenant_id=tenant_id,
    )


def reserve_keys(tenant_id: str, kept: Sequence[KeptKey]) -> Command[None]:
    """Reserve the keys of tasks that stay elsewhere."""
    return command(
        "reserve_keys",
        nothing,
        tenant_id=tenant_id,
        shards=[one.shard for one in kept],
        ids=[one.id for one in kept],
        keys=[one.key for one in kept],
    )
