"""Single-row INSERTs by pgbench on eight connections while a worker runs what they insert."""

from __future__ import annotations

import re
import subprocess
import tempfile
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from benchmarks.databases import keep_constants
from benchmarks.sides.measure import arguments, report
from benchmarks.sides.worker_process import worker
from pgsched.db.embedded.server import packaged_binaries

CONNECTIONS = 8
WITH_TRIGGERS = "insert into pgsched.tasks (task_type) values ('noop');"
# What the trigger fills in is written out.
WITHOUT = (
    "insert into pgsched.tasks (task_type, schedule_type, scheduled_for, next_run_at)"
    " values ('noop', 'one_time', now(), now());"
)


def run(dsn: str, seconds: int, triggers: bool) -> dict[str, float]:
    """One round."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        if not triggers:
            connection.execute("alter table pgsched.tasks disable trigger user")
            keep_constants(connection, keep=True)
        with worker(dsn):
            connection.execute("checkpoint")
            per_second = _pgbench(dsn, seconds, WITH_TRIGGERS if triggers else WITHOUT)
            row = connection.execute("select count(*) from pgsched.executions where status = 'completed'").fetchone()
    return {"per_second": per_second, "worked_per_second": (row[0] if row else 0) / seconds}


def _pgbench(dsn: str, seconds: int, statement: str) -> float:
    place = conninfo_to_dict(dsn)
    with tempfile.TemporaryDirectory(prefix="pgsched-bench-") as folder:
        script = Path(folder) / "insert.sql"
        script.write_text(statement + "\n", encoding="utf-8")
        command = [str(packaged_binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"]
        command += [f"--client={CONNECTIONS}", "--jobs=1", f"--time={seconds}"]
        command += ["-h", str(place["host"]), "-p", str(place["port"]), "-U", str(place["user"]), str(place["dbname"])]
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
    found = re.search(r"tps = ([\d.]+)", said)
    if found is None:
        raise RuntimeError(f"pgbench said: {said}")
    return float(found[1])


if __name__ == "__main__":
    _given = arguments()
    report(run(_given["dsn"], _given["seconds"], _given["triggers"]))
