"""Judgements about the tables: their definitions, and how PostgreSQL maintains them."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Final

from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.words import age

DEAD_ROWS_MATTER: Final = 10_000
"""Report a table with this many dead rows, if they are also more than :data:`DEAD_SHARE` of the live ones."""
DEAD_SHARE: Final = 0.5
XIDS_SOON: Final = 800_000_000
XIDS_NOW: Final = 1_500_000_000
"""PostgreSQL stops accepting writes at about 2,100 million."""
FILLFACTOR: Final = 50
MANY_ROWS: Final = 5_000_000
LONG_DAYS: Final = 365

Expected = Mapping[str, Mapping[str, str]]
"""The definition of every index, trigger and constraint, by kind and name."""


@cache
def expected() -> Expected:
    """Return the definitions that the migrations create; a test keeps the file up to date."""
    found: Expected = json.loads(Path(__file__).with_name("expected.json").read_text(encoding="utf-8"))
    return found


def _broken(facts: Facts, kind: str) -> Iterator[tuple[str, str, str, bool]]:
    """Yield the parts of a kind that do not work: table or domain, name, definition, and whether it is missing."""
    present = {part.name: part for part in of_kind(kind, facts.catalog)}
    for full_name, definition in expected()[kind].items():
        part = present.get(full_name)
        if part is None or not part.works:
            owner, _, name = full_name.partition(".")
            yield owner, name, definition, part is None


def copied_database(facts: Facts) -> Iterator[Found]:
    """The tasks belong to another database, of which this is a copy, or workers are held back."""
    # Workers that were connected before a move to another server continue; new ones do not start.
    if facts.database.problem is not None:
        problem, _, _advice = facts.database.problem.partition("; ")
        yield Found("database", problem, "pgsched database adopt, if its tasks are to run here: docs/copies.md")


def indexes(facts: Facts) -> Iterator[Found]:
    """An index of the schema is missing or invalid."""
    # Without an index, a claim reads the whole table.
    for table, index, definition, missing in _broken(facts, "index"):
        yield Found(
            index,
            f"the index {index} of pgsched.{table} is {'missing' if missing else 'invalid'}",
            f"{definition};" if missing else f"reindex index concurrently pgsched.{index};",
        )


def triggers(facts: Facts) -> Iterator[Found]:
    """A trigger is missing or disabled."""
    # Without a trigger, rows are not validated, never become due, or wake no worker.
    for table, trigger, definition, missing in _broken(facts, "trigger"):
        yield Found(
            f"{table}.{trigger}",
            f"the trigger {trigger} of pgsched.{table} is {'missing' if missing else 'disabled'}",
            f"{definition};" if missing else f"alter table pgsched.{table} enable trigger {trigger};",
        )


def constraints(facts: Facts) -> Iterator[Found]:
    """A constraint is missing, or was never validated."""
    for kind, noun in (("constraint", "table"), ("domain", "domain")):
        for owner, constraint, definition, missing in _broken(facts, kind):
            if missing:
                problem = f"the {noun} pgsched.{owner} has no constraint {constraint}"
                change = f"add constraint {constraint} {definition}"
            else:
                problem = f"the constraint {constraint} of the {noun} pgsched.{owner} was never validated"
                change = f"validate constraint {constraint}"
            advice = f"alter {noun} pgsched.{owner} {change};"
            yield Found(f"{owner}.{constraint}", problem, advice, "error" if missing else "warning")


def partitions(facts: Facts) -> Iterator[Found]:
    """The history has no partition for today or for one of the next two days."""
    # Rows of a day without a partition go to the default partition, and such days cannot be dropped whole.
    for days in facts.partitions:
        if days.missing:
            yield Found(
                days.parent,
                f"pgsched.{days.parent} has no partition for {', '.join(days.missing)} (UTC)",
                "select pgsched.make_partitions();",
                severity="error" if days.today in days.missing else "warning",
            )


def default_partition(facts: Facts) -> Iterator[Found]:
    """Rows of the history lie in a default partition."""
    for days in facts.partitions:
        if days.default_bytes:
            name = f"{days.parent}_default"
            yield Found(
                name,
                f"{days.default_bytes / 1024:,.0f} KiB of rows lie in pgsched.{name}, which is never dropped",
                f"select pgsched.make_partitions(); the rows that remain are of past days: move or delete them, then "
                f"vacuum pgsched.{name};",
            )


def autovacuum(facts: Facts) -> Iterator[Found]:
    """Autovacuum is off, for the server or for a table of pgsched."""
    if not facts.server.autovacuum:
        yield Found(
            "server",
            "autovacuum or track_counts is off: dead rows are never removed",
            "alter system set autovacuum = on; alter system set track_counts = on; select pg_reload_conf();",
        )
    for table in facts.tables:
        if not table.autovacuum:
            yield Found(
                table.name,
                f"autovacuum is off for pgsched.{table.name}",
                f"alter table pgsched.{table.name} reset (autovacuum_enabled);",
            )


def dead_rows(facts: Facts) -> Iterator[Found]:
    """Over 10,000 dead rows in a table, and more than half as many as live ones."""
    # Dead rows slow claims down.
    for table in facts.tables:
        if table.dead > DEAD_ROWS_MATTER and table.dead > DEAD_SHARE * max(table.live, 1):
            last = "never" if table.vacuumed_ago is None else f"{age(table.vacuumed_ago)} ago"
            yield Found(
                table.name,
                f"{table.dead:,} dead rows beside {table.live:,} live ones; last vacuum: {last}",
                f"vacuum (verbose) pgsched.{table.name}; it says what keeps them",
            )


def wraparound(facts: Facts) -> Iterator[Found]:
    """Transaction ids of 800 million transactions ago are in use, or of 1.5 billion."""
    # Transaction ids run out when vacuum cannot freeze rows.
    ages = [("database", facts.server.xid_age), *((f"pgsched.{one.name}", one.xid_age) for one in facts.tables)]
    name, oldest = max(ages, key=lambda pair: pair[1])
    if oldest >= XIDS_SOON:
        yield Found(
            name,
            f"{oldest / 1e6:,.0f} million transactions since it was frozen; writes stop at about 2,100 million",
            "vacuum (freeze, verbose); also check old_transactions and replication_slots",
            severity="error" if oldest >= XIDS_NOW else "warning",
        )


def fillfactor(facts: Facts) -> Iterator[Found]:
    """The fillfactor of `pgsched.tasks` is not 50: claims write its indexes."""
    for table in facts.tables:
        if table.name == "tasks" and table.fillfactor != FILLFACTOR:
            yield Found(
                "tasks",
                f"the fillfactor of pgsched.tasks is {table.fillfactor}, not {FILLFACTOR}",
                f"alter table pgsched.tasks set (fillfactor = {FILLFACTOR});",
            )


def retention(facts: Facts) -> Iterator[Found]:
    """Over 5,000,000 rows or a year of history, and no retention."""
    rows = next((table.about_rows for table in facts.tables if table.name == "tasks"), 0)
    if rows > MANY_ROWS and not facts.retention.tasks:
        yield Found(
            "tasks",
            f"pgsched.tasks has about {rows:,} rows, and finished ones are never deleted",
            "update pgsched.settings set retention = interval '30 days';",
        )
    oldest = max((days.oldest_days or 0 for days in facts.partitions), default=0)
    if oldest > LONG_DAYS and not facts.retention.history:
        yield Found(
            "history",
            f"the history goes back {oldest:,} days, and its days are never dropped",
            "update pgsched.settings set history_retention = interval '90 days';",
        )
