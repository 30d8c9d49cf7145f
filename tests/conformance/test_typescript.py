"""What only the TypeScript worker has: its example, its types, its insert helper."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conformance.workers import CLIENT, WorkerProcess, url_of
from tests.support.tables import database, insert_task, task_row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.skipif(
    shutil.which("node") is None or not (CLIENT / "dist" / "index.js").exists(),
    reason="the TypeScript worker is not built: clients/typescript/install.sh",
)

TYPED = """
import { Worker } from "pgsched";
new Worker<{ email: { to: string } }>({
  connection: "",
  handlers: { email: async (payload, ctx) => ({ to: payload.to.trim(), at: ctx.scheduledFor }) },
});
"""
UNTYPED = TYPED.replace("payload.to.trim()", "payload.cc")
SCHEDULE = """
import pg from "pg";
import { schedule } from "pgsched";
const client = new pg.Client(process.env.DSN);
await client.connect();
await client.query("begin");
const options = { delay: "1 hour", tags: ["a"], metadata: { by: "é" }, idempotency_key: "once", max_attempts: 5 };
const id = await schedule(client, "email", { to: "ada" }, options);
const again = await schedule(client, "email", { to: "ada" }, options);
await client.query("commit");
await client.end();
console.log(JSON.stringify([id, again]));
"""


def _project(folder: Path) -> Path:
    """A folder in which the package is installed."""
    modules = folder / "node_modules"
    modules.mkdir()
    for name in ("pg", "@types", "typescript"):
        (modules / name).symlink_to(CLIENT / "node_modules" / name)
    (modules / "pgsched").symlink_to(CLIENT)
    return folder


def test_example_of_the_page_runs(dsn: str, tmp_path: Path) -> None:
    project = _project(tmp_path)
    shutil.copy(CLIENT / "example.mjs", project / "example.mjs")
    env = {"PATH": os.environ["PATH"], "PGSCHED_DSN": url_of(dsn)}
    with database(dsn) as connection:
        good = insert_task(connection, "email", queue="mail", payload='{"to": "ada@example.com"}')
        bad = insert_task(connection, "email", queue="mail", payload='{"to": "ada"}')
        worker = WorkerProcess(["node", "example.mjs"], project, "worker", env)
        try:
            wait_until(lambda: task_row(connection, good)["status"] == "completed", message=worker.output)
            wait_until(lambda: task_row(connection, bad)["status"] == "dead", message=worker.output)
            assert task_row(connection, good)["result"] == {"sent": True}
            assert worker.stop() == 0
        finally:
            worker.kill()


@pytest.mark.parametrize(("program", "fault"), [(TYPED, ""), (UNTYPED, "Property 'cc' does not exist")])
def test_payloads_are_typed(tmp_path: Path, program: str, fault: str) -> None:
    project = _project(tmp_path)
    (project / "program.mts").write_text(program)
    tsc = [
        *(
            "node",
            str(CLIENT / "node_modules" / "typescript" / "bin" / "tsc"),
            "--noEmit",
            "--strict",
            "--skipLibCheck",
        ),
        *("--module", "nodenext", "--target", "es2022", "--types", "node", "program.mts"),
    ]
    done = subprocess.run(tsc, cwd=project, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) == (fault == ""), done.stdout
    assert fault in done.stdout


def test_schedule_inserts_in_the_transaction_of_the_caller(dsn: str, tmp_path: Path) -> None:
    project = _project(tmp_path)
    (project / "insert.mjs").write_text(SCHEDULE)
    env = {"PATH": os.environ["PATH"], "DSN": url_of(dsn)}
    done = subprocess.run(["node", "insert.mjs"], cwd=project, env=env, capture_output=True, text=True, check=True)
    first, second = json.loads(done.stdout)
    assert first == second
    with database(dsn) as connection:
        row = task_row(connection, int(first))
    assert (row["payload"], row["tags"], row["metadata"]) == ({"to": "ada"}, ["a"], {"by": "é"})
    assert (row["idempotency_key"], row["max_attempts"], row["status"]) == ("once", 5, "pending")


def test_source_is_small_and_has_no_any() -> None:
    sources = [path.read_text(encoding="utf-8") for path in (CLIENT / "src").glob("*.ts")]
    assert sum(text.count("\n") for text in sources) < 1500
    package = json.loads((CLIENT / "package.json").read_text(encoding="utf-8"))
    assert list(package["dependencies"]) == ["pg"]
    assert not [text for text in sources if re.search(r"(?:[:<|]|\bas) *any *[;,>)\]=|]", text)]
