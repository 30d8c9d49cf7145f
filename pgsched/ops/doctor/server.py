"""Judgements about the server and the connection to it, and what holds vacuum back; for any schema version."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from pgsched.db.queries.diagnostics import BEHIND, OLD_SECONDS
from pgsched.db.server_version import SUPPORTED
from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age, literal

MOST_SKEW: Final = timedelta(seconds=2)
SLOTS_SOON, SLOTS_NOW = 0.80, 0.95
QUEUE_SOON, QUEUE_NOW = 0.1, 0.5


def schema_version(facts: Facts) -> Iterator[Found]:
    """The schema is missing, or older or newer than this program; only a hint if the two are compatible."""
    found, wanted = facts.version.version, facts.program_version
    at = f"the schema is at version {found}, this program"
    if found > wanted >= facts.version.works_with:
        advice = "upgrade pgsched here too: docs/upgrades.md"
        yield Found("schema pgsched", f"{at} is made for {wanted} and works with it", advice, "hint")
    elif found != wanted:
        problem = f"{at} needs {wanted}" if found else "the database has no pgsched schema"
        yield Found("schema pgsched", problem, "upgrade pgsched" if found > wanted else "pgsched migrate", "error")


def read_only(facts: Facts) -> Iterator[Found]:
    """The server is a standby, or accepts no writes."""
    if facts.server.standby:
        yield Found(
            "server",
            "the server is a standby: it accepts no writes",
            "make the DSN lead to the primary: add target_session_attrs=read-write and all hosts",
        )
    elif facts.server.read_only:
        yield Found(
            "server",
            "default_transaction_read_only is on: nothing can be written",
            "alter system reset default_transaction_read_only; select pg_reload_conf(); or reset it for the role",
        )


def server_version(facts: Facts) -> Iterator[Found]:
    """A PostgreSQL version that pgsched is not tested with (14 to 18 are)."""
    major = facts.server.version // 10_000
    if major not in SUPPORTED:
        yield Found(
            "server",
            f"PostgreSQL {major}; pgsched supports {SUPPORTED[0]} to {SUPPORTED[-1]}",
            f"upgrade PostgreSQL to {SUPPORTED[-1]}" if major < SUPPORTED[0] else "upgrade pgsched",
        )


def durability(facts: Facts) -> Iterator[Found]:
    """`fsync` or `full_page_writes` off, or `synchronous_commit` off: a crash loses rows."""
    server = facts.server
    for name, on, loss in (
        ("fsync", server.fsync, "a crash of the machine may destroy the database"),
        ("full_page_writes", server.full_page_writes, "a crash of the machine may destroy pages"),
        ("synchronous_commit", server.synchronous_commit, "a crash of the server loses the latest commits"),
    ):
        if not on:
            yield Found(
                name,
                f"{name} is off: {loss}",
                f"alter system set {name} = on; select pg_reload_conf();",
                severity="warning" if name == "synchronous_commit" else "error",
            )


def connections(facts: Facts) -> Iterator[Found]:
    """80 % of the connection slots in use, or 95 %."""
    # Soon the server will accept no more connections.
    server = facts.server
    share = server.connections / max(server.slots, 1)
    if share >= SLOTS_SOON:
        yield Found(
            "server",
            f"{server.connections} of {server.slots} connection slots are in use",
            "alter system set max_connections = …; and restart; or put a pooler in between",
            severity="error" if share >= SLOTS_NOW else "warning",
        )


def notification_queue(facts: Facts) -> Iterator[Found]:
    """A tenth of the server's notification queue is full, or half."""
    # A full queue makes every commit that notifies fail; from half on pgsched does not notify, and workers poll.
    usage = facts.server.notification_queue
    oldest = facts.server.oldest_sessions
    if usage >= QUEUE_SOON:
        suspects = f"; the oldest transactions are those of pid {', '.join(oldest)}" if oldest else ""
        polls = "; pgsched sends no notifications, workers poll" if usage >= QUEUE_NOW else ""
        yield Found(
            "server",
            f"{usage:.0%} of the notification queue is full: a session, of any database, listens but stays in a "
            f"transaction{suspects}{polls}",
            f"select pg_terminate_backend({oldest[0].split()[0]});"
            if oldest
            else "select pid, xact_start, query from pg_stat_activity order by xact_start; end the first one",
            severity="error" if usage >= QUEUE_NOW else "warning",
        )


def pooler(facts: Facts) -> Iterator[Found]:
    """A pooler in transaction mode lies between the program and the server."""
    # Notifications do not pass through a pooler in transaction mode.
    if facts.pooled:
        yield Found(
            "connection",
            "a pooler in transaction mode lies in between: workers receive no notifications through it, they poll",
            "pgsched worker --listen-dsn DSN, with a DSN that leads to the server itself",
        )


def clock_skew(facts: Facts) -> Iterator[Found]:
    """The clock of this machine differs by over 2 s from the database's."""
    # Times that programs compute are off by this much; pgsched's own come from the database.
    seconds = facts.skew.total_seconds()
    if abs(facts.skew) > MOST_SKEW:
        yield Found(
            "this machine",
            f"its clock is {abs(seconds):,.1f} s {'ahead of' if seconds > 0 else 'behind'} the database's",
            "timedatectl set-ntp true, on both machines",
        )


def old_transactions(facts: Facts) -> Iterator[Found]:
    """A transaction has been open for over ten minutes."""
    # An open transaction keeps every row that has died since from being removed.
    for holder in of_kind("session", facts.holders):
        yield Found(
            f"pid {holder.name}",
            f"its transaction has been open for {age(holder.seconds)} ({holder.about})",
            f"select pg_terminate_backend({holder.name});",
        )


def prepared_transactions(facts: Facts) -> Iterator[Found]:
    """A prepared transaction has waited for over ten minutes."""
    # A forgotten prepared transaction stays forever, even across restarts.
    for holder in of_kind("prepared", facts.holders):
        yield Found(
            holder.name,
            f"prepared by {holder.about} {age(holder.seconds)} ago and not ended",
            f"rollback prepared {literal(holder.name)}; or commit prepared",
        )


def replication_slots(facts: Facts) -> Iterator[Found]:
    """A replication slot that is not in use, or that keeps rows from being removed."""
    # A slot keeps log and rows for a reader that may never return.
    for holder in of_kind("slot", facts.holders):
        more = "" if holder.about == "is not in use" else f": it keeps rows of {BEHIND / 1e6:.0f} million transactions"
        yield Found(
            holder.name,
            f"the slot {holder.about}{more}; the server keeps its log for it",
            f"select pg_drop_replication_slot({literal(holder.name)}); unless its reader returns",
        )


def unseen(facts: Facts) -> Iterator[Found]:
    """A check failed or took too long, or this role may not read what it needs."""
    # What this role may not see must not pass for healthy.
    server = facts.server
    if not server.sees_sessions:
        yield Found(
            "old_transactions",
            f"the role {server.role} does not see transactions of others that are over {age(OLD_SECONDS)} old",
            f'grant pg_read_all_stats to "{server.role}";',
            severity="hint",
        )
