"""How long claims take that begin at the front, over index entries whose rows are finished and not vacuumed yet."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import Any

import psycopg

from benchmarks.sides.measure import arguments, report
from benchmarks.sides.ours import INSERT, claim_times
from pgsched.observability import logs

FINISH = """
    update pgsched.tasks
    set status = 'completed', next_run_at = null, completed_at = now(), execution_count = 1
    where next_run_at is not null
    """


async def run(dsn: str, given: dict[str, Any]) -> dict[str, float]:
    """One round: ``dead`` rows are finished, and none is cleaned up."""
    async with await psycopg.AsyncConnection.connect(dsn, autocommit=True) as connection:
        await connection.execute(b"alter table pgsched.tasks set (autovacuum_enabled = false)")
        if given["dead"]:
            await connection.execute(INSERT.encode(), (given["dead"],))
            await connection.execute(b"vacuum analyze pgsched.tasks")
            await connection.execute(FINISH.encode())
        await connection.execute(b"checkpoint")
    times = await claim_times(dsn)
    return {"first_ms": times[0], "claim_ms": median(times)}


if __name__ == "__main__":
    logs.configure("warning")
    _given = arguments()
    report(asyncio.run(run(_given["dsn"], _given)))
