"""Judgements about other programs' changes to the tables: triggers, rules, locks, and the settings of roles."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from pgsched.ops.doctor.facts import Facts, of_kind
from pgsched.ops.doctor.findings import Found
from pgsched.ops.doctor.schema import expected
from pgsched.ops.doctor.words import age, literal

_CATALOG: Final = {
    "index": ("index", "drop index pgsched.{part};"),
    "trigger": ("trigger", "drop trigger {part} on pgsched.{table};"),
    "constraint": ("constraint", "alter table pgsched.{table} drop constraint {part};"),
    "column": ("column", "alter table pgsched.{table} drop column {part};"),
    "domain": ("constraint of the domain", "alter domain pgsched.{table} drop constraint {part};"),
}
_OTHERS: Final = {
    "policy": "its condition hides rows from workers, or rejects what they write",
    "row security": "rows that no policy lets through never run",
    "rule": "statements that it rewrites do not have the effect that pgsched relies on",
    "foreign key": "rows that it refers to cannot be deleted",
    "publication": "each claim and each finish is sent to its subscribers",
    "event trigger": "it may reject the partitions that pgsched creates each day",
}


def foreign_objects(facts: Facts) -> Iterator[Found]:
    """A trigger, constraint, index, column, policy, rule, foreign key, publication or event trigger that is not
    pgsched's."""
    # Others may add to the tables, and their additions may reject rows: an unlikely suspect when tasks fail.
    for part in facts.catalog:
        if part.kind in _CATALOG and part.name not in expected()[part.kind]:
            noun, drop = _CATALOG[part.kind]
            table, _, name = part.name.partition(".")
            yield Found(
                part.name,
                f"the {noun} {name} of pgsched.{table} is not pgsched's own: rows that it rejects do not run",
                f"if it does: {drop.format(table=table, part=name)}",
            )
    for one in facts.foreign:
        if one.kind in _OTHERS:
            yield Found(
                one.name,
                f"{one.kind} {one.name}{f' ({one.about})' if one.about else ''}: {_OTHERS[one.kind]}",
                "make sure that it lets through what workers do, or drop it",
            )


def role_settings(facts: Facts) -> Iterator[Found]:
    """A setting of a role or of the database that changes the effect of statements, such as `statement_timeout`."""
    # pgsched sets what it relies on in its own sessions; other programs' inserts and psql follow the setting.
    for one in of_kind("setting", facts.foreign):
        reset = (one.about or "").rpartition(" set ")
        yield Found(
            one.name,
            f"sessions start with a setting that changes the effect of statements: {one.about}",
            f"if programs fail because of it: {reset[0]} reset {reset[2].partition('=')[0]};",
        )


def held_locks(facts: Facts) -> Iterator[Found]:
    """Another program or a prepared transaction has held a lock on rows or tables of pgsched for over 5 s; or a
    session has been idle for over a minute in a transaction that changed rows."""
    # Rows and tables that are locked by other programs cannot be claimed, finished or maintained.
    for one in of_kind("session", facts.locks):
        yield Found(
            one.name,
            f"a transaction ({one.about}), open for {age(one.seconds)}, holds {one.holds}",
            f"let it commit, or: select pg_terminate_backend({one.name});",
        )
    for one in of_kind("prepared", facts.locks):
        yield Found(
            one.name,
            f"a transaction that {one.about} prepared {age(one.seconds)} ago holds {one.holds}",
            f"rollback prepared {literal(one.name)}; or commit prepared",
        )
