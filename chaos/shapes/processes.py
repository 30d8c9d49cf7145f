"""The memory of processes and of a server's sessions; read from /proc, so for a server on this machine only."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import psycopg

Connection = psycopg.Connection[dict[str, Any]]

SESSIONS = """
    select pid, application_name as name,
      -- An idle session that reads a notification seems to have begun its transaction with its last statement.
      case when state <> 'idle' then extract(epoch from clock_timestamp() - xact_start)::float8 end as seconds
    from pg_stat_activity where datname = current_database() and pid <> pg_backend_pid()
"""


class Server(NamedTuple):
    """The sessions of the database at one moment."""

    connections: int
    largest: int
    """Bytes of private memory of its largest process."""
    total: int
    """Bytes of private memory of all of them."""
    longest_transaction: float
    """Seconds."""


def resident(pid: int) -> int:
    """Bytes of memory that a process and those it has started hold; 0 once it has ended."""
    return sum(_status(one, "VmRSS") for one in (pid, *descendants(pid)))


def private(pid: int) -> int:
    """Bytes of memory that belong to this process only: without shared buffers."""
    return _status(pid, "RssAnon")


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that they have started."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [one for child in map(int, text.split()) for one in (child, *descendants(child))]


def look(connection: Connection) -> Server:
    """Look at the sessions of a database."""
    rows = connection.execute(SESSIONS).fetchall()
    sizes = [private(row["pid"]) for row in rows]
    # A worker that locks its tasks, and a session that looks around, are in a transaction for a moment.
    return Server(
        connections=len(rows),
        largest=max(sizes, default=0),
        total=sum(sizes),
        longest_transaction=max((row["seconds"] or 0.0 for row in rows), default=0.0),
    )


def cpu_seconds(pid: int) -> float:
    """Seconds of processor time that a process and those it has started have used."""
    seconds = 0.0
    for one in (pid, *descendants(pid)):
        try:
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        seconds += (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return seconds


def _status(pid: int, name: str) -> int:
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    lines = [line for line in text.splitlines() if line.startswith(f"{name}:")]
    return int(lines[0].split()[1]) * 1024 if lines else 0
