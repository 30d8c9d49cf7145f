"""``pgsched generate``: what generated clients send is what the database takes, and the command writes their files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import psycopg
import pytest

from pgsched.ops.generate.options import BY_KEY, OPTIONS, SCHEDULE, UNIQUE
from tests.support.commands import pgsched
from tests.support.tables import task_row

Db = psycopg.Connection[dict[str, Any]]
APP = "tests.support.generate_app:app"
ONCE = {
    "priority": 7, "run_at": "2030-01-01T00:00:00Z", "tags": ["a", 'b"'], "metadata": {"m": 1}, "depends_on": ["1"],
    "timeout": "5 seconds", "backoff_factor": 3, "parent_id": "1", "enabled": False, "queue": "q", "max_attempts": 9,
}  # fmt: skip


def run(db: Db, statement: str, *parameters: Any) -> tuple[str, str, str]:
    given = [one if isinstance(one, str) else json.dumps(one) for one in parameters]
    row = psycopg.RawCursor(db).execute(statement.encode(), given).fetchone()
    assert row is not None
    return row["id"], row["outcome"], row["differs"]


def test_options_are_the_arguments_of_schedule(db: Db) -> None:
    rows = db.execute("select proargnames as names from pg_proc where oid = 'pgsched.schedule'::regproc").fetchone()
    assert rows is not None
    assert {one.name for one in OPTIONS} | {"task_type", "payload"} == set(rows["names"])


def test_statements_make_tasks_with_their_options(db: Db) -> None:
    assert run(db, SCHEDULE, {"task_type": "first", "payload": {"a": 1}}) == ("1", "created", "[]")
    made = {"task_type": "mail", "payload": {"to": "ada"}, **ONCE}
    id, outcome, _ = run(db, SCHEDULE, made)
    row = task_row(db, int(id))
    assert (outcome, row["payload"], row["priority"], row["tags"]) == ("created", {"to": "ada"}, 7, ["a", 'b"'])
    assert (row["depends_on"], row["parent_id"], row["enabled"], row["metadata"]) == ([1], 1, False, {"m": 1})
    assert (row["queue"], row["max_attempts"], row["backoff_factor"]) == ("q", 9, 3.0)
    cron = {"task_type": "report", "payload": {}, "cron_expression": "0 8 * * *", "timezone": "Europe/Berlin"}
    id, _, _ = run(db, SCHEDULE, cron)
    assert task_row(db, int(id))["schedule_type"] == "recurring"


def test_statements_tell_what_became_of_a_task_that_is_there(db: Db) -> None:
    keyed = {"task_type": "mail", "payload": {"to": "ada"}, "idempotency_key": "k"}
    assert run(db, BY_KEY, keyed, "return") == ("1", "created", "[]")
    assert run(db, BY_KEY, {**keyed, "priority": 9}, "return") == ("1", "existing", '["priority"]')
    assert run(db, BY_KEY, {**keyed, "priority": 9}, "update")[1] == "updated"
    alike = {"task_type": "index", "payload": {"shop": 1, "why": "x"}}
    rule = {"by": ["payload.shop"], "within": "1 hour", "states": ["pending"]}
    id, outcome, _ = run(db, UNIQUE, alike, "return", rule)
    assert outcome == "created"
    assert run(db, UNIQUE, {**alike, "payload": {"shop": 1, "why": "y"}}, "return", rule)[:2] == (id, "existing")
    assert run(db, UNIQUE, alike, "return", {"debounce": "1 minute", "max_wait": "2 minutes"})[1] == "created"
    with pytest.raises(psycopg.errors.UniqueViolation):
        run(db, BY_KEY, keyed, "raise")


def test_register_in_the_database_and_app_give_the_same_file(dsn: str, tmp_path: Path) -> None:
    assert pgsched("generate", "typescript", dsn=dsn).error.startswith("no handlers are registered")
    assert pgsched("sync", "--app", APP, dsn=dsn).code == 0
    for language in ("typescript", "go", "jsonschema"):
        file = tmp_path / language
        assert pgsched("generate", language, "--output", str(file), dsn=dsn).code == 0
        assert pgsched("generate", language, "--app", APP, dsn=dsn).stdout == file.read_text()
        assert pgsched("generate", language, "--output", str(file), "--check", dsn=dsn).code == 0
        file.write_text(file.read_text() + " ")
        old = pgsched("generate", language, "--output", str(file), "--check", dsn=dsn)
        assert (old.code, "is not up to date" in old.error) == (1, True)
    assert pgsched("generate", "go", "--app", APP, "--package", "a b", dsn=dsn).code == 2
