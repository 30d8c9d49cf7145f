"""Generated clients are compiled, and schedule tasks in a real database, in transactions of their drivers."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from pgsched.ops.generate.go import go
from pgsched.ops.generate.registered import of_entries
from pgsched.ops.generate.typescript import typescript
from pgsched.worker.registration import entries
from tests.support.generate_app import all_types, app
from tests.support.tables import database

HERE = Path(__file__).parent
NODE = HERE / "node"
GOCODE = Path("/usr/share/gocode")
"""Where Debian keeps the sources of Go's libraries."""


def output(command: Sequence[str | Path], cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env={**os.environ, **(env or {})}, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def judge(dsn: str, said: Mapping[str, Any], names: tuple[str, str], origin: str) -> None:
    """What the program got and what the table has must be what it asked for."""
    id, differs = names
    with database(dsn) as db:
        rows = {str(row["id"]): row for row in db.execute("select * from pgsched.tasks order by id")}
    assert {str(said[one][id]) for one in ("made", "late", "first")} == set(rows)
    outcomes = [said[one].get("outcome", said[one].get("Outcome")) for one in ("made", "again", "first", "second")]
    assert outcomes == ["created", "existing", "created", "existing"]
    assert said["again"][differs] == ["priority"]
    assert said["second"][id] == said["first"][id]
    made, late, first = (rows[str(said[one][id])] for one in ("made", "late", "first"))
    assert made["payload"] == {
        "number": 7, "lines": [{"sku": "x", "price": "1.50"}], "colour": "red", "pair": [1, "two"],
        "tree": {"name": "root", "children": [{"name": "leaf"}]},
    }  # fmt: skip
    assert (made["task_type"], made["queue"], made["priority"]) == ("order.place", "shop", 9)
    assert (made["tags"], made["metadata"]) == (["vip", 'a "quoted" one'], {"from": origin})
    assert (made["timeout"].total_seconds(), made["tenant_id"], made["scheduled_for"].year) == (30, "acme", 2030)
    assert (late["payload"], late["status"], late["depends_on"]) == (
        {"anything": [1, None, "ü"]}, "blocked", [made["id"]],
    )  # fmt: skip
    assert first["task_type"] == '"; drop table x; --'
    assert "priority_must_be_between_1_and_10" in said["refused"]


def test_typescript_compiles_and_schedules(dsn: str) -> None:
    if shutil.which("node") is None or not (NODE / "node_modules").exists():
        pytest.skip("node or its packages are not installed: sh tests/generated/install.sh")
    build = NODE / "build"
    shutil.rmtree(build, ignore_errors=True)
    build.mkdir()
    (build / "tasks.ts").write_text(typescript(all_types(), version=1), encoding="utf-8")
    shutil.copy(NODE / "program.ts", build)
    options = ["--strict", "--target", "es2022", "--module", "commonjs", "--types", "node", "--noUnusedLocals"]
    output([NODE / "node_modules/.bin/tsc", *options, "program.ts"], build)
    parts = conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    env = {name: str(parts[part]) for name, part in names.items() if part in parts}
    said = json.loads(output(["node", "program.js"], build, env))
    judge(dsn, said, ("id", "differs"), "node")


def test_go_compiles_and_schedules(dsn: str, tmp_path: Path) -> None:
    if shutil.which("go") is None or not (GOCODE / "src/github.com/lib/pq").exists():
        pytest.skip("Go or its library lib/pq is not installed: sh tests/generated/install.sh")
    folder = tmp_path / "src/generated"
    (folder / "tasks").mkdir(parents=True)
    (folder / "tasks/tasks.go").write_text(go(all_types(), version=1, package="tasks"), encoding="utf-8")
    shutil.copy(HERE / "go/program.go", folder)
    (tmp_path / "plain.go").write_text(go(of_entries(entries(app.registry)), version=1, package="tasks"))
    assert output(["gofmt", "-l", "plain.go"], tmp_path) == ""
    env = {"GO111MODULE": "off", "GOPATH": f"{tmp_path}:{GOCODE}", "GOFLAGS": ""}
    output(["go", "vet", "./..."], folder, env)
    output(["go", "build", "-o", "program", "."], folder, env)
    address = psycopg.conninfo.make_conninfo(dsn, sslmode="disable")
    said = json.loads(output([folder / "program", address], folder, env))
    judge(dsn, said, ("ID", "Differs"), "go")
