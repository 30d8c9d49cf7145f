"""Several databases as one system: which shard a task belongs to.

Pure, and simple enough to be repeated in any language: docs/shards.md specifies the hash and has test vectors.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from pgsched.domain.errors import ConfigError
from pgsched.domain.records import Record

ARRIVING, HERE, LEAVING, LEFT = STATES = ("arriving", "here", "leaving", "left")
"""The states of a tenant in a database that it moves to or from."""
DEFAULT_QUEUE: Final = "default"


def shard_key(tenant_id: str | None = None, queue: str | None = None) -> str:
    """Return what is hashed: the tenant, or the queue of a task that has none."""
    return f"queue:{queue or DEFAULT_QUEUE}" if tenant_id is None else f"tenant:{tenant_id}"


def score(shard: str, key: str) -> int:
    """Return the weight of a shard for a key: the first 8 bytes, big-endian, of the SHA-256 of both in UTF-8."""
    return int.from_bytes(sha256(f"{shard}\n{key}".encode()).digest()[:8], "big")


def hashed_shard(shards: Iterable[str], key: str) -> str:
    """Return the shard with the highest score (rendezvous hashing); of equal ones the first by name."""
    return min(shards, key=lambda name: (-score(name, key), name))


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement(Record):
    """What a database says of a tenant that was moved."""

    tenant_id: str
    state: str
    """``arriving``, ``here``, ``leaving`` or ``left``."""
    shard: str
    """Where the tenant is, or moves to."""
    peer: str
    """The other shard of the move."""
    version: int
    """Of several statements about a tenant the highest version counts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownShard(Record):
    """A shard as a database knows it."""

    name: str
    is_here: bool
    is_hashed: bool


@dataclass(kw_only=True)
class ShardMap:
    """Where tasks belong, as the databases say."""

    hashed: tuple[str, ...] = ()
    """The shards among which the hash chooses."""
    placements: dict[str, Placement] = field(default_factory=dict)
    """The tenants that were moved."""

    def home(self, tenant_id: str | None = None, queue: str | None = None) -> str:
        """Return the shard of a tenant, or of a queue for tasks without a tenant. Raises ConfigError without shards."""
        if tenant_id is not None and (placed := self.placements.get(tenant_id)) is not None:
            return placed.shard
        if not self.hashed:
            raise ConfigError("these databases are not shards of one system: run 'pgsched shard init'")
        return hashed_shard(self.hashed, shard_key(tenant_id, queue))

    def note(self, placement: Placement) -> None:
        """Remember a statement about a tenant, unless a newer one is known.

        ``arriving`` is not one: until the source has begun to refuse the tenant's tasks, they belong there.
        """
        known = self.placements.get(placement.tenant_id)
        if placement.state != ARRIVING and (known is None or known.version <= placement.version):
            self.placements[placement.tenant_id] = placement


def read_map(said: Mapping[str, tuple[list[KnownShard], list[Placement]]]) -> ShardMap:
    """Return the map that several databases state together, by the names that their DSNs were given.

    Raises ConfigError for a database that is another shard than its DSN's name says, or none, and when they disagree.
    """
    found = ShardMap()
    for name, (shards, placements) in said.items():
        here = next((one.name for one in shards if one.is_here), None)
        if here is None:
            raise ConfigError(f"database {name} is not a shard yet: run 'pgsched shard init'")
        if here != name:
            raise ConfigError(f"the database that is given as {name} is shard {here}")
        hashed = tuple(sorted(one.name for one in shards if one.is_hashed))
        if found.hashed and found.hashed != hashed:
            raise ConfigError(f"shard {name} hashes over {', '.join(hashed)}, another over {', '.join(found.hashed)}")
        found.hashed = hashed
        for one in placements:
            found.note(one)
    return found
