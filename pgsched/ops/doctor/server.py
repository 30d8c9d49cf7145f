"""Judgements about the server, the way to it, and what keeps it from cleaning up."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Final

from pgsched.db.queries.diagnostics import BEHIND, OLD_SECONDS
from pgsched.domain.errors import InvalidTimezone
from pgsched.domain.scheduling.time_zones import load_zone
from pgsched.ops.doctor.facts import Facts, instants_from
from pgsched.ops.doctor.findings import Finding
from pgsched.ops.doctor.words import age, literal

SUPPORTED: Final = range(14, 19)
MOST_SKEW: Final = timedelta(seconds=2)
XIDS_SOON: Final = 800_000_000
XIDS_NOW: Final = 1_500_000_000
"""PostgreSQL takes no writes any more at about 2,100 million."""
SLOTS_SOON, SLOTS_NOW = 0.80, 0.95
QUEUE_SOON, QUEUE_NOW = 0.1, 0.5


def schema_version(facts: Facts) -> Iterator[Finding]:
    """The schema is not the one of this program."""
    found, wanted = facts.version.version, facts.program_version
    if found > wanted >= facts.version.works_with:
        yield Finding(
            severity="hint",
            object="schema pgsched",
            problem=f"the schema is at version {found}, this program is made for {wanted} and works with it",
            advice="upgrade pgsched here too: docs/upgrades.md",
        )
    elif found != wanted:
        newer = found > wanted
        yield Finding(
            severity="error",
            object="schema pgsched",
            problem=f"the schema is at version {found}, this program needs {wanted}"
            if found
            else "the database has no pgsched schema",
            advice="upgrade pgsched" if newer else "pgsched migrate",
        )


def read_only(facts: Facts) -> Iterator[Finding]:
    """The server takes no writes."""
    server = facts.server
    if server.standby or server.read_only:
        yield Finding(
            severity="error",
            object="server",
            problem="the server is a standby: it takes no writes"
            if server.standby
            else "default_transaction_read_only is on: nothing can be written",
            advice="let the DSN lead to the primary: add target_session_attrs=read-write and all hosts"
            if server.standby
            else "alter system reset default_transaction_read_only; select pg_reload_conf(); or reset it for the role",
        )


def server_version(facts: Facts) -> Iterator[Finding]:
    """Another PostgreSQL than pgsched is made for."""
    major = facts.server.version // 10_000
    if major not in SUPPORTED:
        yield Finding(
            severity="warning",
            object="server",
            problem=f"PostgreSQL {major}; pgsched is made for {SUPPORTED[0]} to {SUPPORTED[-1]}",
            advice=f"upgrade PostgreSQL to {SUPPORTED[-1]}" if major < SUPPORTED[0] else "upgrade pgsched",
        )


def durability(facts: Facts) -> Iterator[Finding]:
    """A crash of the server would lose what was committed, or all of it."""
    server = facts.server
    for name, on, loss in (
        ("fsync", server.fsync, "a crash of the machine may destroy the database"),
        ("full_page_writes", server.full_page_writes, "a crash of the machine may destroy pages"),
        ("synchronous_commit", server.synchronous_commit, "a crash of the server loses what was committed last"),
    ):
        if not on:
            yield Finding(
                severity="warning" if name == "synchronous_commit" else "error",
                object=name,
                problem=f"{name} is off: {loss}",
                advice=f"alter system set {name} = on; select pg_reload_conf();",
            )


def connections(facts: Facts) -> Iterator[Finding]:
    """The server will soon let nobody in."""
    server = facts.server
    share = server.connections / max(server.slots, 1)
    if share >= SLOTS_SOON:
        yield Finding(
            severity="error" if share >= SLOTS_NOW else "warning",
            object="server",
            problem=f"{server.connections} of {server.slots} connection slots are in use",
            advice="alter system set max_connections = …; and restart; or put a pooler in between",
        )


def notification_queue(facts: Facts) -> Iterator[Finding]:
    """A full queue would refuse every commit that notifies."""
    usage = facts.server.notification_queue
    if usage >= QUEUE_SOON:
        yield Finding(
            severity="error" if usage >= QUEUE_NOW else "warning",
            object="server",
            problem=f"{usage:.0%} of the notification queue is full: a session listens and does not read",
            advice="select pid, xact_start, query from pg_stat_activity order by xact_start; end the first one",
        )


def pooler(facts: Facts) -> Iterator[Finding]:
    """Notifications do not pass a pooler in transaction mode."""
    if facts.pooled:
        yield Finding(
            severity="hint",
            object="connection",
            problem="a pooler in transaction mode is in between: workers hear no notifications through it, they poll",
            advice="pgsched worker --listen-dsn DSN, with one that leads to the server itself",
        )


def clock_skew(facts: Facts) -> Iterator[Finding]:
    """Times that programs compute are off by so much; pgsched's own are the database's."""
    seconds = facts.skew.total_seconds()
    if abs(facts.skew) > MOST_SKEW:
        yield Finding(
            severity="warning",
            object="this machine",
            problem=f"its clock is {abs(seconds):,.1f} s {'ahead of' if seconds > 0 else 'behind'} the database's",
            advice="timedatectl set-ntp true, on both machines",
        )


def timezones(facts: Facts) -> Iterator[Finding]:
    """The database's rules of a zone hold; where Python knows others, previews differ and bookings cost more."""
    for used in facts.zones:
        try:
            zone = load_zone(used.zone)
        except InvalidTimezone:
            advice = "pip install --upgrade tzdata, for all workers"
            yield Finding(
                severity="error",
                object=used.zone,
                problem="a schedule has this zone and Python does not know it",
                advice=advice,
            )
            continue
        if used.offsets is None:
            yield Finding(
                severity="error",
                object=used.zone,
                problem="a schedule has this zone and PostgreSQL does not know it",
                advice="upgrade PostgreSQL, or the machine's tzdata if PostgreSQL uses it",
            )
            continue
        for at, offset in zip(instants_from(facts.now), used.offsets, strict=True):
            ours = int((at.astimezone(zone).utcoffset() or timedelta()).total_seconds())
            if ours != offset:
                yield Finding(
                    severity="warning",
                    object=used.zone,
                    problem=f"on {at:%Y-%m-%d} it is {ours / 3600:+g} h in Python, {offset / 3600:+g} h in PostgreSQL",
                    advice="pip install --upgrade tzdata, and upgrade PostgreSQL: one of them is older",
                )
                break


def wraparound(facts: Facts) -> Iterator[Finding]:
    """Transaction ids run out when vacuum cannot freeze."""
    ages = [("database", facts.server.xid_age), *((f"pgsched.{one.name}", one.xid_age) for one in facts.tables)]
    name, oldest = max(ages, key=lambda pair: pair[1])
    if oldest >= XIDS_SOON:
        yield Finding(
            severity="error" if oldest >= XIDS_NOW else "warning",
            object=name,
            problem=f"{oldest / 1e6:,.0f} million transactions since it was frozen; writes stop at about 2,100 million",
            advice="vacuum (freeze, verbose); and look at old_transactions and replication_slots",
        )


def old_transactions(facts: Facts) -> Iterator[Finding]:
    """An open transaction keeps every row that died since."""
    for holder in facts.holders:
        if holder.kind == "session":
            yield Finding(
                severity="warning",
                object=f"pid {holder.name}",
                problem=f"its transaction has been open for {age(holder.seconds)} ({holder.about})",
                advice=f"select pg_terminate_backend({holder.name});",
            )


def prepared_transactions(facts: Facts) -> Iterator[Finding]:
    """A prepared transaction that was forgotten stays for ever, also after a restart."""
    for holder in facts.holders:
        if holder.kind == "prepared":
            yield Finding(
                severity="warning",
                object=holder.name,
                problem=f"prepared by {holder.about} {age(holder.seconds)} ago and not ended",
                advice=f"rollback prepared {literal(holder.name)}; or commit prepared",
            )


def replication_slots(facts: Facts) -> Iterator[Finding]:
    """A slot keeps log and rows for somebody who may never come."""
    for holder in facts.holders:
        if holder.kind == "slot":
            more = (
                "" if holder.about == "is not in use" else f": it keeps rows of {BEHIND / 1e6:.0f} million transactions"
            )
            yield Finding(
                severity="warning",
                object=holder.name,
                problem=f"the slot {holder.about}{more}; the server keeps its log for it",
                advice=f"select pg_drop_replication_slot({literal(holder.name)}); unless its reader comes back",
            )


def sight(facts: Facts) -> Iterator[Finding]:
    """What this role may not see, so that nobody takes it for fine."""
    server = facts.server
    if not server.sees_sessions:
        yield Finding(
            severity="hint",
            object="old_transactions",
            problem=f"the role {server.role} does not see transactions of others that are over {age(OLD_SECONDS)} old",
            advice=f'grant pg_read_all_stats to "{server.role}";',
        )
