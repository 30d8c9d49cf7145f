"""Two real workers and a web face, scraped by a real Prometheus while they work: what its tests look at."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from tests.support import prometheus
from tests.support.engine import expire_leases
from tests.support.processes import PgschedProcess
from tests.support.prometheus import Prometheus
from tests.support.tables import database, insert_task, set_dead, set_running
from tests.support.waiting import wait_until

Connection = psycopg.Connection[dict[str, Any]]
APP = """
import asyncio
from pgsched import App, Context
app = App()

@app.task("send", queue="mail")
async def send(): ...

@app.task("flaky", queue="mail")
async def flaky(ctx: Context):
    if ctx.attempt == 1:
        raise ValueError("no luck")

@app.task("broken", queue="mail")
async def broken():
    raise ValueError("never any luck")

@app.task("slow", queue="mail")
async def slow():
    await asyncio.sleep(60)
"""
PORTIONS = 6
FIRST = {"send": 50, "flaky": 3, "broken": 2, "slow": 1}
"""Tasks of each type in one of the portions that make up the load."""
AFTER_KILL = 30
TOKEN = "metrics-token-of-the-tests"


@dataclass(frozen=True, kw_only=True)
class Scraped:
    """What is left to look at: everything still runs, and nothing is to do."""

    prometheus: Prometheus
    dsn: str
    expected: dict[str, int]
    """Attempts that must have ended, by outcome."""


@contextmanager
def scraped(*, folder: Path, dsn: str) -> Iterator[Scraped]:
    """Plant rows, start everything, work, kill a process, work on, and wait until Prometheus knows all of it."""
    (folder / "mod.py").write_text(APP)
    with ExitStack() as stack, database(dsn) as db:
        # What stands in the table from the beginning: the workers' cache of its gauges is renewed every 15 s only.
        for _ in range(4):
            set_dead(db, insert_task(db, "send", queue="graves"))
        for _ in range(3):
            db.execute(
                "insert into pgsched.tasks (task_type, queue, scheduled_for) values ('send', 'later', now() + '1 day')"
            )
        for _ in range(2):
            insert_task(db, "letter", queue="mail")
        silent = insert_task(
            db, "send", queue="later", scheduled_for="2026-01-01Z", enabled=True, alert_if_no_success_for="1 hour"
        )
        set_dead(db, silent, ago="2 days")
        long = insert_task(db, "send", queue="later", alert_if_running_for="1 second")
        set_running(db, long, lease="1 day")
        db.execute("update pgsched.tasks set started_at = now() - interval '1 hour' where id = %s", (long,))

        def start(name: str, *arguments: str, token: str | None = None) -> PgschedProcess:
            env = {"PGSCHED_METRICS_TOKEN": token, "PGSCHED_VIEWER_TOKEN": "viewer-token-of-the-tests"} if token else {}
            return stack.enter_context(PgschedProcess(arguments, folder=folder, name=name, dsn=dsn, env=env))

        worker = ("worker", "--app", "mod:app", "--queue", "mail", "--metrics-port", "0")
        pair = start("pair", *worker, "--processes", "2", "--concurrency", "7")
        plain = start("plain", *worker, "--concurrency", "5")
        ports = {name: _port(process, "metrics_served") for name, process in (("pair", pair), ("plain", plain))}
        # Nothing is counted before it is scraped: what a process counted of a series until then is no growth.
        config = prometheus.deployed_config(folder, interval="1s", token=TOKEN, workers=ports)
        seen = stack.enter_context(prometheus.running(config))
        wait_until(lambda: seen.value("sum(pgsched_slots)") == 19, message="three processes are scraped")

        with db.transaction():  # nobody else may claim it in between
            set_running(db, insert_task(db, "send", queue="mail"))
            expire_leases(db)
        for _ in range(PORTIONS):
            for task_type, number in FIRST.items():
                _insert(db, task_type, number)
            _all_counted(db, seen)

        children = db.execute("select pid from pgsched.workers where pid <> %s", (plain.pid,)).fetchall()
        os.kill(children[0]["pid"], signal.SIGKILL)
        wait_until(
            lambda: len(db.execute("select from pgsched.workers where pid <> %s", (plain.pid,)).fetchall()) > 2,
            timeout=30,
            message="another process has come in place of the one that was killed",
        )
        wait_until(lambda: seen.value("sum(pgsched_slots)") == 19, message="it is scraped")
        _insert(db, "send", AFTER_KILL)
        _all_counted(db, seen)

        web = start("web", "web", "--port", "0", token=TOKEN)
        prometheus.add_web(folder, int(web.wait_for_output(r"http://127\.0\.0\.1:(\d+)/")[1]))
        wait_until(
            lambda: seen.value('pgsched_workers{instance="web"}') is not None,
            timeout=30,
            message="the web face is scraped",
        )
        wait_until(lambda: _all_are_up(seen), timeout=30, message="there is a moment when every target was up")
        yield Scraped(prometheus=seen, dsn=dsn, expected=_expected())


OPTIONS = {
    "flaky": {"max_attempts": 2},
    "broken": {"max_attempts": 1},
    "slow": {"max_attempts": 2, "timeout": "50 milliseconds"},
}


def _insert(db: Connection, task_type: str, number: int) -> None:
    options = {"queue": "mail", "backoff": "fixed", "backoff_delay": "1 millisecond"} | OPTIONS.get(task_type, {})
    for _ in range(number):
        insert_task(db, task_type, **options)


def _all_counted(db: Connection, seen: Prometheus) -> int:
    """Wait until all is done, and until Prometheus knows; the number of attempts."""

    def done() -> bool:
        left = db.execute(
            """
            select from pgsched.tasks
            where queue = 'mail' and task_type <> 'letter' and next_run_at is not null
            limit 1
            """
        )
        return not left.fetchall()

    wait_until(done, message="all is done")
    (row,) = db.execute("select count(*)::int as attempts from pgsched.executions where status <> 'lost'").fetchall()
    attempts = int(row["attempts"])
    wait_until(
        lambda: seen.value("sum(pgsched_executions_total)") == attempts,
        message=f"Prometheus knows {attempts} attempts",
    )
    return attempts


def _all_are_up(seen: Prometheus) -> bool:
    """Whether every target was up a while ago; queries then look at that moment from now on.

    A busy machine may let a scrape run out of time at any moment: its target then has no gauges until the next.
    """
    seen.at = time.time() - 2  # no scrape of that moment is still under way
    if seen.query('pgsched_workers{instance="web"}') and set(seen.query("up").values()) == {1.0}:
        return True
    seen.at = None
    return False


def _port(process: PgschedProcess, event: str) -> int:
    line = process.wait_for_output(rf"^.*{event}.*$").group()
    return int(re.findall(r'"port": (\d+)', line)[0])


def _expected() -> dict[str, int]:
    send, flaky, broken, slow = (PORTIONS * FIRST[name] for name in ("send", "flaky", "broken", "slow"))
    return {
        "completed": send + AFTER_KILL + 1 + flaky,  # one whose first worker had died
        "failed": flaky,
        "timed_out": slow,
        "dead": broken + slow,
        "snoozed": 0,  # every outcome has a series from the start
        "suspended": 0,
    }
