"""``pgsched shard``: makes databases the shards of one system, and moves tenants between them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from pgsched.cli.options import examples, json_option, output_option
from pgsched.cli.output import OUTPUTS, Columns, count, say, say_done, say_json, say_records
from pgsched.cli.session import Session, server
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.domain.records import Record

if TYPE_CHECKING:
    from pgsched.db.database import Database

COLUMNS: Columns = {
    "SHARD": "name",
    "STATE": "state",
    "HASHED": "is_hashed",
    "MOVED HERE": "moved_here",
    "MOVED AWAY": "moved_away",
    "MOVING": lambda one: ", ".join(one.moving) or None,
}
FIVE_MINUTES = 300.0


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardInfo(Record):
    """A shard in the list."""

    name: str
    state: str
    """``online`` or ``offline``."""
    is_hashed: bool | None = None
    """Whether the hash may choose it; None if it is unknown."""
    moved_here: int | None = None
    moved_away: int | None = None
    moving: tuple[str, ...] = ()
    """The tenants that are moving to or from it."""


@click.group()
def shard() -> None:
    """Make databases the shards of one system, and move tenants between them.

    Give --dsn NAME=DSN for each shard, or PGSCHED_DSN with all of them.
    """


@shard.command(epilog=examples("pgsched --dsn a=postgresql://db1/app --dsn b=postgresql://db2/app shard init"))
@click.pass_obj
def init(session: Session) -> None:
    """Store in each database which shards there are.

    The first call decides among which shards the hash chooses. A shard that is added by a later call gets only tenants
    that are moved to it.
    """
    from pgsched.ops.shards import init_shards  # imported late, as below: help needs no database

    with _databases(session) as databases:
        for one in init_shards(databases):
            say_done(f"shard {one.name}: " + ("hashed" if one.is_hashed else "only tenants that are moved to it"))


@shard.command("list")
@output_option(*OUTPUTS)
@click.pass_context
def list_(context: click.Context, output: str) -> None:
    """List the shards and the tenants that are moving. Exits with 1 if a shard is offline."""
    from pgsched.db.queries.shards import list_placements, list_shards
    from pgsched.domain.shards import ARRIVING, HERE, LEAVING, LEFT

    rows = []
    with _databases(context.obj) as databases:
        for name, database in databases.items():
            try:
                known, placed = database.run(list_shards()), database.run(list_placements())
            except DatabaseUnavailable:
                rows.append(ShardInfo(name=name, state="offline"))
                continue
            rows.append(
                ShardInfo(
                    name=name,
                    state="online",
                    is_hashed=next((one.is_hashed for one in known if one.is_here), None),
                    moved_here=sum(one.state in (ARRIVING, HERE) for one in placed),
                    moved_away=sum(one.state in (LEAVING, LEFT) for one in placed),
                    moving=tuple(one.tenant_id for one in placed if one.state in (ARRIVING, LEAVING)),
                )
            )
    say_records(rows, COLUMNS, output=output)
    context.exit(1 if any(one.state == "offline" for one in rows) else 0)


@shard.command()
@click.argument("tenant")
@click.pass_obj
def home(session: Session, tenant: str) -> None:
    """Print the shard of a tenant."""
    from pgsched.client.shards import ShardedClient

    with _resolved(session) as dsns, ShardedClient(dsns) as client:
        say(client.home(tenant))


@shard.command(epilog=examples("pgsched shard move acme --to b"))
@click.argument("tenant")
@click.option("--to", "target", metavar="NAME", required=True, help="The shard to move it to.")
@click.option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(0, 86_400),
    default=FIVE_MINUTES,
    show_default=True,
    help="How long to wait for open transactions and for running schedules of the tenant.",
)
@json_option
@click.pass_obj
def move(session: Session, tenant: str, target: str, timeout: float, as_json: bool) -> None:
    """Move a tenant to another shard while it works, or finish a move that was interrupted.

    Tasks that run, and tasks that belong together (dependencies, steps of groups, durable runs), stay where they are
    and end there. All others are moved. Run the same command again after an interruption of any kind.
    """
    from pgsched.ops.shards import Move

    with _databases(session) as databases:
        moved = Move(databases, tenant, target, timeout=timeout).run()
    if as_json:
        say_json(moved.as_dict())
    elif moved.source == target:
        say_done(f"tenant {tenant} is in shard {target} already")
    else:
        stay = f"; {count(moved.staying, 'task')} of it stayed there" if moved.staying else ""
        where = f"from shard {moved.source} to {target}"
        say_done(f"tenant {tenant}: moved {count(moved.tasks, 'task')} {where} in {moved.seconds:.1f} s{stay}")


@contextmanager
def _resolved(session: Session) -> Iterator[Mapping[str, str]]:
    with ExitStack() as stack:
        yield {name: stack.enter_context(server(dsn)) for name, dsn in session.shards.items()}


@contextmanager
def _databases(session: Session) -> Iterator[dict[str, Database]]:
    from pgsched.db.database import Database

    with _resolved(session) as dsns:
        databases = {name: Database(dsn=dsn, pool_size=2) for name, dsn in dsns.items()}
        try:
            yield databases
        finally:
            for one in databases.values():
                one.close()
