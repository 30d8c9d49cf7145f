"""Connections that insert single tasks, each in its own transaction: by pgbench, whose own cost is small."""

from __future__ import annotations

import re
import resource
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import psycopg
from psycopg.conninfo import conninfo_to_dict

from pgsched.bench.processor_time import server_seconds
from pgsched.db.embedded.server import packaged_binaries

INSERT = "insert into pgsched.tasks (task_type) values ('noop');"
JOBS = 2


@dataclass(frozen=True, kw_only=True)
class Inserts:
    """What a number of connections did."""

    connections: int
    per_second: float
    processor: float
    """Processor time of an insert, server and client together, in seconds."""
    server_cores: float
    """Processors that the server used on average."""


def insert(dsn: str, connections: int, seconds: int) -> Inserts:
    """Insert for a number of seconds on so many connections; no worker runs."""
    with psycopg.connect(dsn, autocommit=True) as connection, tempfile.TemporaryDirectory(prefix="pgsched-") as folder:
        backend = connection.info.backend_pid
        script = Path(folder) / "insert.sql"
        script.write_text(INSERT + "\n", encoding="utf-8")
        place = conninfo_to_dict(dsn)
        command = [str(packaged_binaries() / "pgbench"), "--no-vacuum", "--protocol=prepared", f"--file={script}"]
        command += [f"--client={connections}", f"--jobs={min(connections, JOBS)}", f"--time={seconds}"]
        command += ["-h", str(place["host"]), "-p", str(place["port"]), "-U", str(place["user"]), str(place["dbname"])]
        served, used = server_seconds(backend), _children()
        said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=seconds + 60).stdout
        served_then = server_seconds(backend)
    found, done = re.search(r"tps = ([\d.]+)", said), re.search(r"actually processed: (\d+)", said)
    if found is None or done is None or served is None or served_then is None:
        raise RuntimeError(f"pgbench said: {said}")
    total = served_then - served
    return Inserts(
        connections=connections,
        per_second=float(found[1]),
        processor=(total + _children() - used) / int(done[1]),
        server_cores=total / seconds,
    )


def _children() -> float:
    """The processor time of the programs that this process has waited for."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime
