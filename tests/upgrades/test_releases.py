"""What was released stays as it was, and what comes after it says with which programs it works."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgsched.db.migrations.indexes import indexes_of
from pgsched.db.sql_files import FIRST_RELEASE, Migration, migrations
from tests.support.processes import CHECKOUT
from tests.upgrades.releases import RELEASES, Release, checksum, released_checksums

MIGRATIONS = sorted((CHECKOUT / "sql" / "migrations").glob("*.sql"))
each_release = pytest.mark.parametrize("release", RELEASES, ids=lambda release: release.name)


def changed(folder: Path) -> list[str]:
    """The released migrations that are not in a folder as they were."""
    found = {path.name: checksum(path) for path in folder.glob("*.sql")}
    return [name for name, digest in released_checksums().items() if found.get(name) != digest]


def test_no_released_migration_has_changed() -> None:
    assert changed(CHECKOUT / "sql" / "migrations") == [], "a released migration never changes: write another one"
    assert list(released_checksums()) == [path.name for path in MIGRATIONS][: len(released_checksums())]


def test_a_change_would_be_seen(tmp_path: Path) -> None:
    for path in MIGRATIONS:
        (tmp_path / path.name).write_bytes(path.read_bytes())
    (tmp_path / MIGRATIONS[3].name).write_text(MIGRATIONS[3].read_text() + "\n")
    assert changed(tmp_path) == [MIGRATIONS[3].name]


@each_release
def test_the_archive_of_a_release_holds_its_migrations(release: Release, tmp_path: Path) -> None:
    release.unpack(tmp_path)
    held = {path.name: checksum(path) for path in (tmp_path / "sql" / "migrations").glob("*.sql")}
    assert len(held) == release.schema
    assert held.items() <= released_checksums().items()


def test_releases_are_in_order_and_the_last_one_has_every_released_migration() -> None:
    schemas = [release.schema for release in RELEASES]
    assert schemas == sorted(schemas)
    assert schemas[0] == FIRST_RELEASE
    assert schemas[-1] == len(released_checksums())


@pytest.mark.parametrize("migration", migrations()[FIRST_RELEASE:], ids=lambda one: one.name)
def test_a_migration_says_with_which_programs_it_works(migration: Migration) -> None:
    line = "-- Works with programs of version N of the schema and later."
    assert re.match(line.replace("N", r"\d+"), migration.sql), f"{migration.name} must begin with {line!r}"
    assert FIRST_RELEASE <= migration.works_with <= migration.version


def test_the_first_program_works_with_what_came_before_it_and_silence_is_a_break() -> None:
    assert {migration.works_with for migration in migrations()[:FIRST_RELEASE]} == {FIRST_RELEASE}
    assert Migration(40, "silent", "select 1;").works_with == 40
    assert Migration(40, "kind", "-- Works with programs of version 12 of the schema and later.\n").works_with == 12


@pytest.mark.parametrize("migration", migrations()[FIRST_RELEASE:], ids=lambda one: one.name)
def test_a_later_index_on_a_large_table_is_made_while_others_write(migration: Migration) -> None:
    made = re.findall(
        r"^\s*create (?:unique )?index .*?on pgsched\.(?:tasks|executions)\b", migration.sql, re.MULTILINE
    )
    assert len(made) == len(indexes_of(migration)), (
        f"{migration.name}: write `create index if not exists NAME on pgsched.TABLE …;`, at the beginning of a line"
    )
