"""Judgements about the tables: what they are made of, and how PostgreSQL keeps them in order."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from pgsched.ops.doctor.facts import Facts
from pgsched.ops.doctor.findings import Finding
from pgsched.ops.doctor.words import age

DEAD_ROWS_MATTER: Final = 10_000
"""So many dead rows of a table are worth a word, when they are more than :data:`DEAD_SHARE` of the live ones."""
DEAD_SHARE: Final = 0.5
FILLFACTOR: Final = 50
MANY_ROWS: Final = 5_000_000
LONG_DAYS: Final = 365

Expected = Mapping[str, Mapping[str, str]]
"""The definition of every index, trigger and constraint, by kind and name."""


@cache
def expected() -> Expected:
    """Return what the migrations make; a test keeps the file equal to that."""
    found: Expected = json.loads(Path(__file__).with_name("expected.json").read_text(encoding="utf-8"))
    return found


def indexes(facts: Facts) -> Iterator[Finding]:
    """Without an index a claim reads the whole table."""
    present = {part.name: part for part in facts.catalog if part.kind == "index"}
    for name, definition in expected()["index"].items():
        part = present.get(name)
        if part is None or not part.works:
            table, _, index = name.partition(".")
            yield Finding(
                severity="error",
                object=index,
                problem=f"the index {index} of pgsched.{table} is {'missing' if part is None else 'invalid'}",
                advice=f"{definition};" if part is None else f"reindex index concurrently pgsched.{index};",
            )


def triggers(facts: Facts) -> Iterator[Finding]:
    """Without a trigger rows are not checked, not due, or wake nobody."""
    present = {part.name: part for part in facts.catalog if part.kind == "trigger"}
    for name, definition in expected()["trigger"].items():
        part = present.get(name)
        if part is None or not part.works:
            table, _, trigger = name.partition(".")
            yield Finding(
                severity="error",
                object=f"{table}.{trigger}",
                problem=f"the trigger {trigger} of pgsched.{table} is {'missing' if part is None else 'disabled'}",
                advice=f"{definition};" if part is None else f"alter table pgsched.{table} enable trigger {trigger};",
            )


def constraints(facts: Facts) -> Iterator[Finding]:
    """Without a constraint rows that make no sense come in."""
    present = {(part.kind, part.name): part for part in facts.catalog}
    for kind, noun in (("constraint", "table"), ("domain", "domain")):
        for name, definition in expected()[kind].items():
            part = present.get((kind, name))
            owner, _, constraint = name.partition(".")
            if part is not None and part.works:
                continue
            change = (
                f"add constraint {constraint} {definition}" if part is None else f"validate constraint {constraint}"
            )
            yield Finding(
                severity="error" if part is None else "warning",
                object=f"{owner}.{constraint}",
                problem=f"the {noun} pgsched.{owner} has no constraint {constraint}"
                if part is None
                else f"the constraint {constraint} of the {noun} pgsched.{owner} was never validated",
                advice=f"alter {noun} pgsched.{owner} {change};",
            )


def partitions(facts: Facts) -> Iterator[Finding]:
    """Rows of a day without a partition go to the default one, and old days cannot be dropped whole."""
    for days in facts.partitions:
        if days.missing:
            yield Finding(
                severity="error" if days.today in days.missing else "warning",
                object=days.parent,
                problem=f"pgsched.{days.parent} has no partition for {', '.join(days.missing)} (UTC)",
                advice="select pgsched.make_partitions();",
            )


def default_partition(facts: Facts) -> Iterator[Finding]:
    """Rows that came when their day had no partition."""
    for days in facts.partitions:
        if days.default_bytes:
            name = f"{days.parent}_default"
            yield Finding(
                severity="warning",
                object=name,
                problem=f"{days.default_bytes / 1024:,.0f} KiB of rows lie in pgsched.{name}, which is never dropped",
                advice=f"select pgsched.make_partitions(); what it leaves is of past days: move or delete it, then "
                f"vacuum pgsched.{name};",
            )


def autovacuum(facts: Facts) -> Iterator[Finding]:
    """Nobody removes dead rows."""
    if not facts.server.autovacuum:
        yield Finding(
            severity="error",
            object="server",
            problem="autovacuum or track_counts is off: dead rows are never removed",
            advice="alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf();",
        )
    for table in facts.tables:
        if not table.autovacuum:
            yield Finding(
                severity="error",
                object=table.name,
                problem=f"autovacuum is off for pgsched.{table.name}",
                advice=f"alter table pgsched.{table.name} reset (autovacuum_enabled);",
            )


def dead_rows(facts: Facts) -> Iterator[Finding]:
    """Dead rows slow claims down."""
    for table in facts.tables:
        if table.dead > DEAD_ROWS_MATTER and table.dead > DEAD_SHARE * max(table.live, 1):
            last = "never" if table.vacuumed_ago is None else f"{age(table.vacuumed_ago)} ago"
            yield Finding(
                severity="warning",
                object=table.name,
                problem=f"{table.dead:,} dead rows beside {table.live:,} live ones; last vacuum: {last}",
                advice=f"vacuum (verbose) pgsched.{table.name}; it says what keeps them",
            )


def fillfactor(facts: Facts) -> Iterator[Finding]:
    """Without room in its page a claim writes all indexes."""
    for table in facts.tables:
        if table.name == "tasks" and table.fillfactor != FILLFACTOR:
            yield Finding(
                severity="warning",
                object="tasks",
                problem=f"the fillfactor of pgsched.tasks is {table.fillfactor}, not {FILLFACTOR}",
                advice=f"alter table pgsched.tasks set (fillfactor = {FILLFACTOR});",
            )


def retention(facts: Facts) -> Iterator[Finding]:
    """The table and the history grow for ever."""
    rows = next((table.about_rows for table in facts.tables if table.name == "tasks"), 0)
    if rows > MANY_ROWS and not facts.retention.tasks:
        yield Finding(
            severity="hint",
            object="tasks",
            problem=f"pgsched.tasks has about {rows:,} rows, and finished ones are never deleted",
            advice="update pgsched.settings set retention = interval '30 days';",
        )
    oldest = max((days.oldest_days or 0 for days in facts.partitions), default=0)
    if oldest > LONG_DAYS and not facts.retention.history:
        yield Finding(
            severity="hint",
            object="history",
            problem=f"the history goes back {oldest:,} days, and its days are never dropped",
            advice="update pgsched.settings set history_retention = interval '90 days';",
        )
