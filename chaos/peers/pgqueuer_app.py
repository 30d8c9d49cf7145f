"""A worker of PgQueuer. Arguments: how many tasks run at once, how many are fetched at once, timeouts."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

import asyncpg  # type: ignore[import-untyped]
import pgqueuer
import uvloop
from pgqueuer import AsyncpgDriver, Job, PgQueuer
from psycopg.conninfo import conninfo_to_dict

from chaos.peers.effects import sleep_and_write_down


@asynccontextmanager
async def main() -> AsyncIterator[PgQueuer]:
    """One connection for all, as its guide has it."""
    place = conninfo_to_dict(os.environ["PGSCHED_DSN"])
    connection = await asyncpg.connect(
        host=place["host"], port=place.get("port"), user=place["user"], database=place["dbname"]
    )
    try:
        manager = PgQueuer(AsyncpgDriver(connection))

        @manager.entrypoint("steady")
        async def steady(job: Job) -> None:
            await sleep_and_write_down(job.id)

        print("handlers ready", flush=True)
        yield manager
    finally:
        await connection.close()


if __name__ == "__main__":
    _concurrency, _batch, _timeout = sys.argv[1:]
    uvloop.run(
        pgqueuer.run(
            main,
            max_concurrent_tasks=int(_concurrency),
            batch_size=int(_batch),
            heartbeat_timeout=timedelta(seconds=float(_timeout)),
            dequeue_timeout=timedelta(
                seconds=float(_timeout)
            ),  # an idle worker looks for the jobs of dead ones as often
            shutdown_on_listener_failure=True,
        )
    )
