"""The app that ``procrastinate worker`` loads."""

from __future__ import annotations

import logging
import os

import procrastinate

from chaos.peers.contender import LEASE_SECONDS
from chaos.peers.effects import sleep_and_write_down

app = procrastinate.App(
    connector=procrastinate.PsycopgConnector(conninfo=os.environ["PGSCHED_DSN"]),
    worker_defaults={"update_heartbeat_interval": 1.0, "stalled_worker_timeout": LEASE_SECONDS},
)


@app.task(name="steady", pass_context=True)
async def steady(context: procrastinate.JobContext) -> None:
    assert context.job.id is not None
    await sleep_and_write_down(context.job.id)


@app.periodic(cron="* * * * * *")
@app.task(name="retry_stalled_jobs", queueing_lock="retry_stalled_jobs", pass_context=True)
async def retry_stalled_jobs(context: procrastinate.JobContext, timestamp: int) -> None:
    """As its guide has it."""
    for job in await app.job_manager.get_stalled_jobs(seconds_since_heartbeat=LEASE_SECONDS):
        await app.job_manager.retry_job(job)


def _is_not_of_one_job(record: logging.LogRecord) -> bool:
    return getattr(record, "action", None) != "start_job"


# That a worker starts is told at this level, and so is the begin and the end of each job, which nobody here reads.
logging.getLogger("procrastinate.worker").setLevel(logging.WARNING)
logging.getLogger("procrastinate.worker.worker").setLevel(logging.INFO)
logging.getLogger("procrastinate.worker.worker").addFilter(_is_not_of_one_job)
