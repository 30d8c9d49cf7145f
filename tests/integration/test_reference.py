"""docs/reference_sql.md says what the schema is now; ``make docs`` writes it again."""

from __future__ import annotations

from tests.support.tables import database
from tools.docs.pages import FOLDER, OF_THE_SCHEMA
from tools.docs.sql_page import sql_page, uncommented


def test_page_is_what_would_be_written_now(dsn: str) -> None:
    for name, write in OF_THE_SCHEMA.items():
        same = (FOLDER / name).read_text(encoding="utf-8") == write(dsn)
        assert same, f"docs/{name} is not up to date: make docs"


def test_everything_in_the_schema_says_what_it_is_for(dsn: str) -> None:
    assert uncommented(dsn) == []


def test_what_nobody_commented_is_found_and_what_changes_is_written(dsn: str) -> None:
    """That both tests above can fail."""
    before = sql_page(dsn)
    with database(dsn) as connection:
        connection.execute("comment on column pgsched.tasks.priority is null")
        connection.execute("create table pgsched.things (id int constraint id_must_not_be_0 check (id <> 0))")
        connection.execute("create function pgsched.nothing() returns void language sql as ''")
        connection.execute("create index things_id on pgsched.things (id)")
    assert uncommented(dsn) == [
        "table things",
        "column tasks.priority",
        "column things.id",
        "function nothing",
        "constraint id_must_not_be_0",
        "index things_id",
    ]
    assert sql_page(dsn) != before
