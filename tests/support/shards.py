"""Three databases that are the shards of one system, and what is asked of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager

from pgsched.db.database import Database
from pgsched.domain.shards import hashed_shard, shard_key
from pgsched.ops.shards import init_shards
from tests.support import servers
from tests.support.tables import database

NAMES = ("a", "b", "c")


@contextmanager
def opened(dsns: Mapping[str, str]) -> Iterator[dict[str, Database]]:
    """The databases, for what is done with all of them."""
    found = {name: Database(dsn=dsn, pool_size=2) for name, dsn in dsns.items()}
    try:
        yield found
    finally:
        for one in found.values():
            one.close()


@contextmanager
def three_shards(server_dsn: str, template: str, name: str) -> Iterator[dict[str, str]]:
    """The DSNs of three fresh databases by the names of their shards."""
    with ExitStack() as stack:
        dsns = {
            shard: stack.enter_context(servers.fresh_database(server_dsn, f"{name}_{shard}", template=template))
            for shard in NAMES
        }
        with opened(dsns) as found:
            init_shards(found)
        yield dsns


def tenant_of(shard: str) -> str:
    """A tenant that the hash gives to this shard."""
    return next(f"t{n}" for n in range(100) if hashed_shard(NAMES, shard_key(f"t{n}")) == shard)


def where(dsns: Mapping[str, str], tenant: str) -> dict[str, list[str]]:
    """The names of a tenant's tasks that can run or have run, by shard."""
    found = {}
    for name, dsn in dsns.items():
        with database(dsn) as connection:
            rows = connection.execute(
                "select task_name from pgsched.tasks where tenant_id = %s order by task_name", (tenant,)
            ).fetchall()
            found[name] = [row["task_name"] for row in rows]
    return found
