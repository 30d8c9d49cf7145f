"""The SQL of pgsched: one statement per file, loaded once.

The folder is ``sql/`` of the checkout, packaged as ``pgsched/sql``.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import LiteralString, NamedTuple

_PACKAGED = Path(__file__).parent.parent / "sql"
_CHECKOUT = Path(__file__).parent.parent.parent / "sql"


FIRST_RELEASE = 12
"""The version of the schema that the first programs were written for."""


class Migration(NamedTuple):
    """One step of the schema: a version (1, 2, …), a name and its statements."""

    version: int
    name: str
    sql: LiteralString

    @property
    def works_with(self) -> int:
        """Programs written for this version of the schema, or a later one, work with it after this step.

        The file declares that in a line of its own. Without it no earlier program works with the new schema.
        """
        said = re.search(r"^-- Works with programs of version (\d+) of the schema and later\.$", self.sql, re.MULTILINE)
        return int(said[1]) if said else max(self.version, FIRST_RELEASE)


@cache
def _folder() -> Path:
    return _PACKAGED if _PACKAGED.is_dir() else _CHECKOUT


@cache
def load_statement(name: str) -> LiteralString:
    """Return the text of ``sql/queries/<name>.sql`` without its comment lines.

    Raises FileNotFoundError when there is none.
    """
    text = (_folder() / "queries" / f"{name}.sql").read_text(encoding="utf-8")
    # Our own files, not input: psycopg requires LiteralString for a query without foreign text.
    return re.sub(r"^\s*--.*\n", "", text, flags=re.MULTILINE).strip().rstrip(";")


def statement_names() -> list[str]:
    """Return the name of every statement, sorted."""
    return sorted(path.stem for path in (_folder() / "queries").glob("*.sql"))


def load_statements() -> None:
    """Load every statement: a worker must not need its files once it works, when it may be short of descriptors."""
    for name in statement_names():
        load_statement(name)


@cache
def migrations() -> tuple[Migration, ...]:
    """Return every migration in the order in which they are applied."""
    found = []
    for path in sorted((_folder() / "migrations").glob("*.sql")):
        number, _, name = path.stem.partition("_")
        found.append(Migration(int(number), name, path.read_text(encoding="utf-8")))
    return tuple(found)
