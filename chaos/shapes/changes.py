"""One command that changes many rows."""

from __future__ import annotations

import time
from collections.abc import Iterable

import httpx

from chaos.shapes.app import SCHEDULES
from chaos.shapes.model import OddShape
from chaos.shapes.stage import Stage
from tests.support.tables import database


class SchedulesEdited(OddShape):
    """One UPDATE."""

    name = "schedules-edited"
    does = "One UPDATE changes the cron expression of every schedule, and books the next tick of each."
    size = 50_000
    things = "schedules"
    pages = ("/schedules", "/upcoming", "/upcoming?within=7d", "/api/v1/tasks?schedule_type=recurring", "/")

    def set_up(self, stage: Stage, size: int) -> None:
        stage.execute(
            "insert into pgsched.tasks (task_type, queue, task_name, cron_expression, timezone)"
            " select 'thing', 'shape', 'schedule ' || n, n % 60 || ' 3 * * *', 'Europe/Berlin'"
            f" from generate_series(1, {size}) n"
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.execute(
            "update pgsched.tasks set cron_expression = replace(cron_expression, ' 3 ', ' 4 ') where queue = 'shape'"
        )

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        wrong = stage.number(
            "select count(*) from pgsched.tasks where queue = 'shape'"
            " and extract(hour from next_run_at at time zone 'Europe/Berlin') <> 4"
        )
        if wrong:
            yield f"{wrong} schedules are booked for another hour"


class SchedulesSynced(OddShape):
    """`pgsched sync` of an app with thousands."""

    name = "schedules-synced"
    does = "`pgsched sync` declares the schedules of an app, then declares them again with nothing to change."
    size = 3_000
    things = "schedules"
    pages = ("/schedules", "/handlers")

    def run(self, stage: Stage, size: int) -> None:
        stage.environment[SCHEDULES] = str(size)
        stage.command("sync", "--app", self.app)
        begun = time.monotonic()
        stage.command("sync", "--app", self.app)
        self.told.append(f"The second `sync` took {time.monotonic() - begun:.1f} s.")

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        found = stage.number("select count(*) from pgsched.tasks where cron_expression is not null")
        if found != size:
            yield f"{found} schedules are there, not {size}"


class DeadLetters(OddShape):
    """A retry of all of them."""

    name = "dead-letters-retried"
    does = "`pgsched dead retry` for nine tenths of the dead tasks, `POST /dead/retry` for the others; none runs."
    size = 200_000
    things = "dead tasks"

    def set_up(self, stage: Stage, size: int) -> None:
        with database(stage.dsn) as connection:
            connection.execute("set pgsched.restoring = on")
            connection.execute(
                """
                insert into pgsched.tasks (task_type, queue, status, attempts, fencing_token, started_at, last_run_at,
                  died_at, last_error, next_run_at)
                select case when n %% 10 = 0 then 'nap' else 'thing' end, 'shape', 'dead', 3, 3, at, at, at,
                  'ValueError: the number ' || n || ' is no good', null
                from (select n, now() - n * interval '1 second' as at from generate_series(1, %s) n) m
                """,
                (size,),
            )
            connection.execute("select pgsched.pause_queue('shape')")
        stage.serve()

    def run(self, stage: Stage, size: int) -> None:
        begun = time.monotonic()
        stage.command("dead", "retry", "--type", "thing", "--yes")
        self.told.append(f"The command took {time.monotonic() - begun:.1f} s.")
        begun = time.monotonic()
        answer = httpx.post(f"{stage.address}/api/v1/dead/retry", json={"task_type": "nap"}, timeout=600)
        assert answer.status_code == 200, answer.text
        self.told.append(f"The request for {answer.json()['number']:,} took {time.monotonic() - begun:.1f} s.")

    def paths(self, stage: Stage) -> Iterable[str]:
        return "/dead", "/errors", "/tasks?status=pending", "/queues", "/audit"

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        if (
            found := stage.number("select count(*) from pgsched.tasks where queue = 'shape' and status = 'pending'")
        ) != size:
            yield f"{found} tasks wait to run again, not {size}"


class BulkCancel(OddShape):
    """All that match."""

    name = "bulk-cancel"
    does = "`pgsched task bulk cancel` cancels every waiting task of a queue, in transactions of 1,000."
    size = 300_000
    things = "tasks"
    pages = ("/tasks?status=cancelled", "/tasks?queue=shape", "/queues", "/bulk", "/")

    def set_up(self, stage: Stage, size: int) -> None:
        stage.execute(
            "select pgsched.pause_queue('shape');"
            f"insert into pgsched.tasks (task_type, queue) select 'thing', 'shape' from generate_series(1, {size})"
        )

    def run(self, stage: Stage, size: int) -> None:
        stage.command("task", "bulk", "cancel", "--queue", "shape", "--yes")

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        found = stage.number("select count(*) from pgsched.tasks where queue = 'shape' and status = 'cancelled'")
        if found != size:
            yield f"{found} tasks are cancelled, not {size}"
