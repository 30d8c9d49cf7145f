"""Generated clients are compiled, and schedule tasks in a real database, in transactions of their drivers."""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
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
from tests.support.random_schemas import random_types
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


TSC = (NODE / "node_modules/.bin/tsc", "--strict", "--target", "es2022", "--module", "commonjs", "--types", "node")


@pytest.fixture
def build(database_name: str) -> Iterator[Path]:
    """A folder whose programs find the packages of node."""
    if shutil.which("node") is None or not (NODE / "node_modules").exists():
        pytest.skip("node or its packages are not installed: sh tests/generated/install.sh")
    folder = NODE / "build" / database_name
    folder.mkdir(parents=True)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def go_folder(tmp_path: Path) -> Path:
    """A folder of Go's, in which its library is found."""
    if shutil.which("go") is None or not (GOCODE / "src/github.com/lib/pq").exists():
        pytest.skip("Go or its library lib/pq is not installed: sh tests/generated/install.sh")
    folder = tmp_path / "src/generated"
    (folder / "tasks").mkdir(parents=True)
    return folder


def go_env(folder: Path) -> dict[str, str]:
    return {"GO111MODULE": "off", "GOPATH": f"{folder.parents[1]}:{GOCODE}", "GOFLAGS": ""}


def test_types_of_random_schemas_compile(build: Path, go_folder: Path) -> None:
    seed = random.randrange(10**6)
    print("seed", seed)
    types = random_types(seed)
    (build / "tasks.ts").write_text(typescript(types, version=1), encoding="utf-8")
    output([*TSC, "--noEmit", "tasks.ts"], build)
    (go_folder / "tasks/tasks.go").write_text(go(types, version=1, package="tasks"), encoding="utf-8")
    output(["go", "vet", "./tasks"], go_folder, go_env(go_folder))


def test_typescript_compiles_and_schedules(dsn: str, build: Path) -> None:
    (build / "tasks.ts").write_text(typescript(all_types(), version=1), encoding="utf-8")
    shutil.copy(NODE / "program.ts", build)
    output([*TSC, "--noUnusedLocals", "program.ts"], build)
    parts = conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    env = {name: str(parts[part]) for name, part in names.items() if part in parts}
    said = json.loads(output(["node", "program.js"], build, env))
    judge(dsn, said, ("id", "differs"), "node")


def test_go_compiles_and_schedules(dsn: str, go_folder: Path) -> None:
    (go_folder / "tasks/tasks.go").write_text(go(all_types(), version=1, package="tasks"), encoding="utf-8")
    shutil.copy(HERE / "go/program.go", go_folder)
    output(["go", "vet", "./..."], go_folder, go_env(go_folder))
    output(["go", "build", "-o", "program", "."], go_folder, go_env(go_folder))
    address = psycopg.conninfo.make_conninfo(dsn, sslmode="disable")
    said = json.loads(output([go_folder / "program", address], go_folder))
    judge(dsn, said, ("ID", "Differs"), "go")


def test_go_is_formatted_as_by_gofmt(go_folder: Path) -> None:
    plain = of_entries(entries(app.registry))
    (go_folder / "plain.go").write_text(go(plain, version=1, package="tasks"), encoding="utf-8")
    assert output(["gofmt", "-l", "plain.go"], go_folder) == ""
