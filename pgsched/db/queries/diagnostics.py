"""The doctor's commands. Pure, as :mod:`pgsched.db.queries`.

Each query reads a bounded number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from pgsched.db.queries.databases import get_state
from pgsched.db.query import Command, row_as, rows_as, unprepared, value

T = TypeVar("T")

CAP = 10_001
"""Maximum number of rows to count or examine."""
LATE_SECONDS = 60.0
"""A schedule that should have run this long ago has stalled."""
FRONT = 1_000
"""Number of rows at the front of each queue and priority that are examined."""
SAMPLE = 1_000
"""Number of attempts whose lateness is sampled."""
STUCK_SECONDS = 300.0
"""A lease that expired this long ago should have been claimed again."""
OLD_SECONDS = 600.0
"""A transaction that has been open for this long keeps dead rows from being removed."""
BEHIND = 10_000_000
"""A replication slot that keeps rows of this many transactions lags behind."""
HELD_SECONDS = 5.0
"""Locks that others hold on our tables for this long are reported."""
IDLE_SECONDS = 60.0
"""Rows that a session has changed before it became idle in its transaction are reported after this time."""
MANY_OBJECTS = 100
SETTINGS = (
    "array_nulls", "bytea_output", "client_encoding", "datestyle", "default_transaction_deferrable",
    "default_transaction_isolation", "default_transaction_read_only", "enable_indexonlyscan", "enable_indexscan",
    "extra_float_digits", "idle_in_transaction_session_timeout", "idle_session_timeout", "intervalstyle",
    "jit_above_cost", "lc_messages", "lock_timeout", "plan_cache_mode", "quote_all_identifiers", "role",
    "row_security", "search_path", "session_replication_role", "standard_conforming_strings", "statement_timeout",
    "synchronous_commit", "timezone", "transaction_timeout", "xmlbinary",
)  # fmt: skip
"""Settings that change what statements do, in lower case."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """The version of the schema; 0 when there is none."""

    version: int
    works_with: int
    """The lowest program version that works with it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """The server and our role."""

    version: int
    """As 180004."""
    standby: bool
    read_only: bool
    fsync: bool
    full_page_writes: bool
    synchronous_commit: bool
    autovacuum: bool
    slots: int
    """Maximum number of connections for roles like ours together."""
    connections: int
    notification_queue: float
    oldest_sessions: list[str]
    """The sessions with the oldest transactions, of any database, as ``pid (role, program, state)``."""
    xid_age: int
    role: str
    sees_sessions: bool
    """Whether the role may see the activity of other sessions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """A table of the schema, by the server's statistics."""

    name: str
    autovacuum: bool
    fillfactor: int
    about_rows: int
    live: int
    dead: int
    vacuumed_ago: float | None
    xid_age: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """An index, a trigger, a column or a constraint."""

    kind: str
    """``index``, ``trigger``, ``column``, ``constraint`` or ``domain``."""
    name: str
    """Preceded by its table or domain."""
    works: bool
    definition: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Days:
    """The partitions of a table of the history."""

    parent: str
    missing: list[str]
    today: str
    default_bytes: int | None
    oldest_days: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Whether anything is ever deleted."""

    tasks: bool
    history: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """What keeps dead rows: a ``session``, a ``prepared`` transaction or a ``slot``."""

    kind: str
    name: str
    seconds: float | None
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Foreign:
    """Objects of others: a ``policy``, ``row security``, a ``rule``, ``foreign key``, ``publication``, ``event
    trigger`` or ``setting``."""

    kind: str
    name: str
    about: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Locks:
    """Locks that a ``session`` of others or a ``prepared`` transaction holds."""

    kind: str
    name: str
    """The pid of the session, or the identifier of the prepared transaction."""
    seconds: float
    about: str
    holds: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """Rows at the front of a queue that should not be there: ``stalled``, ``stuck`` or ``orphaned``."""

    kind: str
    queue: str
    paused: bool
    number: int
    ids: list[int]
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Blocked:
    """Rows that wait although nothing keeps them."""

    number: int
    ids: list[int] | None
    upstream: list[int] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LastHour:
    """Attempts of the last hour."""

    lost: int
    sampled: int
    half_late: float | None
    """Median lateness of the sample, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Deaths:
    """Tasks of one type and queue that died in the last hour."""

    queue: str
    task_type: str
    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class SetAside:
    """Tasks of a queue that workers have set aside, for one reason."""

    operation: str
    """``claim`` or ``finish``."""
    queue: str
    reason: str
    number: int
    ids: list[int]
    seconds: float
    """How long ago the first of them was set aside."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingMisfit:
    """A task whose payload does not fit old code, and that waits for the newest."""

    task_type: str
    task_id: int
    version: str | None
    since: str
    """When the newest code was first registered."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableTrouble:
    """Durable runs of one type that have a problem."""

    kind: str
    """``unasked``: the code no longer reaches steps that they have recorded; ``unwoken``: their waits are over."""
    task_type: str
    number: int
    ids: list[int]
    """Some of them."""
    names: list[str]
    """Some of the steps."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """A time zone of schedules; ``offsets`` is None when the server does not know it."""

    zone: str
    offsets: list[int] | None


def begin_examination(seconds: float) -> Command[datetime]:
    """Start an examination with a time limit, as the first statement of a transaction; returns the database's time."""
    return unprepared("begin_examination", value("now"), milliseconds=max(int(seconds * 1000), 1))


def examinations(instants: list[datetime]) -> dict[str, Command[Any]]:
    """Return the queries of the doctor alone, by name; zones are compared at these ``instants``."""
    late, stuck = LATE_SECONDS, STUCK_SECONDS
    return {
        "version": unprepared("examine_version", row_as(Version)),
        "server": unprepared("examine_server", row_as(Server)),
        "database": get_state()._replace(prepare=False),
        "tables": unprepared("examine_tables", rows_as(Table)),
        "catalog": unprepared("examine_catalog", rows_as(Part)),
        "partitions": unprepared("examine_partitions", rows_as(Days)),
        "retention": unprepared("examine_retention", row_as(Retention)),
        "sessions": unprepared("examine_sessions", rows_as(Holder), old=OLD_SECONDS, behind=BEHIND),
        "foreign": unprepared("examine_foreign", rows_as(Foreign), settings=list(SETTINGS), cap=MANY_OBJECTS),
        "locks": unprepared("examine_locks", rows_as(Locks), held=HELD_SECONDS, idle=IDLE_SECONDS),
        "zones": unprepared("examine_timezones", rows_as(Zone), cap=CAP, instants=[at.timestamp() for at in instants]),
        "front": unprepared("examine_front", rows_as(Front), cap=FRONT, late=late, stuck=stuck),
        "blocked": unprepared("examine_blocked", row_as(Blocked), cap=CAP),
        "dead": unprepared("examine_dead", rows_as(Deaths), cap=CAP),
        "history": unprepared("examine_history", row_as(LastHour), cap=CAP, sample=SAMPLE),
        "set_aside": unprepared("examine_set_aside", rows_as(SetAside), cap=CAP),
        "misfits": unprepared("examine_misfits", rows_as(WaitingMisfit)),
        "durable": unprepared("examine_durable", rows_as(DurableTrouble), cap=CAP),
    }
