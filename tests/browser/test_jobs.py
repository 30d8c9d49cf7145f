"""Twenty jobs of people on call, each from the overview, with the clicks that it takes."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import pytest
from playwright.sync_api import Browser, Locator, expect

from tests.browser.demonstration import Filled, fill
from tests.browser.hand import Hand
from tests.browser.pages import Looks
from tests.support import servers
from tests.support.tables import database, task_row

DOCUMENT = Path(__file__).parents[2] / "docs" / "dashboard.md"
REGISTERED = [
    {
        "task_type": "greet",
        "version": "2030.1.3",
        "payload_schema": {
            "type": "object",
            "properties": {"name": {"type": "string"}, "loud": {"type": "boolean", "default": False}},
            "required": ["name"],
        },
    }
]


class Desk(NamedTuple):
    """What a job is done with."""

    hand: Hand
    db: psycopg.Connection[dict[str, Any]]
    filled: Filled

    def go(self, page: str) -> None:
        """Follow a link of the side navigation."""
        self.hand.follow(
            self.hand.page.get_by_role("navigation", name="Pages").get_by_role("link", name=page, exact=True)
        )

    def link(self, name: str | re.Pattern[str], **more: Any) -> Locator:
        return self.hand.page.locator("main").get_by_role("link", name=name, **more).first

    def button(self, name: str | re.Pattern[str], **more: Any) -> Locator:
        return self.hand.page.locator("main").get_by_role("button", name=name, **more).first

    def see(self, text: str | re.Pattern[str]) -> None:
        expect(self.hand.page.locator("main")).to_contain_text(text)


def email_not_sent(desk: Desk) -> None:
    desk.hand.search("type:send_email payload.order = 48206")
    desk.hand.follow(desk.hand.page.locator("[data-row] th a").first)
    desk.see("ConnectionRefusedError: [Errno 111] smtp.example.com:587")


def slowest_type(desk: Desk) -> None:
    desk.go("Types")
    desk.hand.follow(desk.link("Run p95"))
    expect(desk.hand.page.locator("[data-row] th").first).to_have_text("pipeline_step")


def failures_by_error(desk: Desk) -> None:
    desk.go("Errors")
    desk.see("BankRefused")
    expect(desk.hand.page.locator("[data-row] .spark").first).to_be_visible()


def retry_of_a_type(desk: Desk) -> None:
    desk.hand.search("type:send_email status:dead ended_after:1d")
    desk.hand.follow(desk.button("Retry…"))
    desk.see("type:send_email")
    desk.hand.follow(desk.button("Retry 2 tasks"))
    desk.see("Retry 2 tasks: starts in")


def taken_back(desk: Desk) -> None:
    retry_of_a_type(desk)
    desk.hand.follow(desk.button("Undo"))
    desk.see("undone, nothing was changed")
    rows = desk.db.execute("select status from pgsched.tasks where task_type = 'send_email' and died_at is not null")
    assert [row["status"] for row in rows] == ["dead", "dead"]


def why_is_it_waiting(desk: Desk) -> None:
    desk.hand.page.goto("/tasks?queue=imports")  # where one sees that it waits
    desk.hand.follow(desk.hand.page.locator("[data-row] th a").first)
    desk.see("Queue imports is paused")
    expect(desk.button("Resume queue imports")).to_be_visible()


def next_day(desk: Desk) -> None:
    desk.go("Upcoming")
    desk.see("Sales of yesterday")


def work_of_a_worker(desk: Desk) -> None:
    desk.go("Workers")
    desk.hand.follow(desk.link(re.compile("worker-b")))
    expect(desk.hand.page.get_by_role("heading", name="Running now")).to_be_visible()
    desk.see("thumbnail")


def changes_of_a_schedule(desk: Desk) -> None:
    desk.go("Schedules")
    desk.hand.follow(desk.link(f"Change history of task {desk.filled.schedule}"))
    desk.see("grace")
    desk.see("0 5 * * *")


def queue_resumed(desk: Desk) -> None:
    desk.go("Queues")
    desk.hand.follow(desk.button("Resume imports"))
    row = desk.db.execute("select paused from pgsched.queues where name = 'imports'").fetchone()
    assert row == {"paused": False}


def running_task_cancelled(desk: Desk) -> None:
    watched(desk)
    desk.hand.clicks += 1  # the question
    desk.hand.follow(desk.button("Cancel", exact=True))
    assert task_row(desk.db, desk.filled.running)["status"] == "cancelled"


def found_by_key(desk: Desk) -> None:
    desk.hand.search('key:"order 48213"')
    expect(desk.hand.page.locator("h1")).to_contain_text(f"Task {desk.filled.dead}")


def retry_with_another_payload(desk: Desk) -> None:
    desk.go("Dead letters")
    desk.hand.follow(desk.hand.page.locator("[data-row] th a").first)
    desk.hand.follow(desk.link("Retry with another payload…"))
    desk.hand.type("Payload (a JSON object)", '{"order": 48213, "card": "tok_new"}')
    desk.hand.follow(desk.button("Retry", exact=True))
    row = task_row(desk.db, desk.filled.dead)
    assert (row["status"], row["payload"]["card"]) == ("pending", "tok_new")


def failed_step(desk: Desk) -> None:
    desk.go("Workflows")
    desk.hand.follow(desk.hand.page.locator("[data-row] a.bad").first)
    desk.see("KeyError: 'warehouse 7'")


def watched(desk: Desk) -> None:
    desk.hand.follow(desk.hand.page.locator(".figures div", has_text="Active").get_by_role("link"))
    desk.hand.follow(desk.link(str(desk.filled.running), exact=True))
    expect(desk.hand.page.get_by_role("heading", name="Running now")).to_be_visible()
    desk.see("sheet is written")


def dead_as_a_file(desk: Desk) -> None:
    desk.go("Tasks")
    desk.hand.follow(desk.link(re.compile("^Dead")))
    with desk.hand.page.expect_download() as download:
        desk.hand.click(desk.link("Export as CSV"))
    lines = Path(download.value.path()).read_text().splitlines()
    assert lines[0].startswith('"id",')
    assert any("charge_card" in line for line in lines)


def worker_drained(desk: Desk) -> None:
    desk.go("Workers")
    desk.hand.clicks += 1  # the question
    desk.hand.follow(desk.hand.page.locator("[data-row]", has_text="worker-b").get_by_role("button", name="Drain"))
    row = desk.db.execute("select request from pgsched.workers where hostname = 'worker-b'").fetchone()
    assert row == {"request": "drain"}


def error_deleted(desk: Desk) -> None:
    desk.go("Errors")
    desk.hand.follow(desk.hand.page.locator("[data-row]", has_text="BankRefused").get_by_role("link", name="Delete…"))
    desk.hand.follow(desk.button(re.compile(r"Delete \d+ task")))
    assert desk.db.execute("select from pgsched.tasks where id = %s", (desk.filled.dead,)).fetchone() is None


def schedule_moved(desk: Desk) -> None:
    desk.go("Schedules")
    desk.hand.follow(desk.link(f"Edit task {desk.filled.schedule}"))
    desk.hand.type("Cron expression", "30 6 * * *")
    desk.hand.follow(desk.button("Save"))
    assert task_row(desk.db, desk.filled.schedule)["cron_expression"] == "30 6 * * *"


def task_created(desk: Desk) -> None:
    desk.go("Tasks")
    desk.hand.follow(desk.link("New task"))
    desk.hand.type("Type", "greet")
    desk.hand.follow(desk.button("Show its fields"))
    desk.hand.type("name required", "Ada")
    desk.hand.follow(desk.button("Create"))
    row = desk.db.execute("select payload from pgsched.tasks where task_type = 'greet'").fetchone()
    assert row is not None
    assert row["payload"]["name"] == "Ada"


class Job(NamedTuple):
    words: str
    do: Callable[[Desk], None]
    clicks: int


JOBS = (
    Job("Why was this e-mail not sent?", email_not_sent, 2),
    Job("Which type is the slowest?", slowest_type, 2),
    Job("What fails, by error?", failures_by_error, 1),
    Job("Retry all dead tasks of one type since yesterday", retry_of_a_type, 3),
    Job("Take that back", taken_back, 4),
    Job("Why is this task waiting? (from the list)", why_is_it_waiting, 1),
    Job("What runs in the next 24 hours?", next_day, 1),
    Job("What does this worker do?", work_of_a_worker, 2),
    Job("Who changed this schedule, and what?", changes_of_a_schedule, 2),
    Job("Resume a paused queue", queue_resumed, 2),
    Job("Cancel a task that runs", running_task_cancelled, 4),
    Job("Find a task by its key", found_by_key, 1),
    Job("Retry a dead task with another payload", retry_with_another_payload, 4),
    Job("Which step of the workflow failed?", failed_step, 2),
    Job("Watch a task that runs: progress and logs", watched, 2),
    Job("Dead tasks as a CSV file", dead_as_a_file, 3),
    Job("Drain a worker before a deployment", worker_drained, 3),
    Job("Delete the dead tasks of one error", error_deleted, 3),
    Job("Move a schedule", schedule_moved, 3),
    Job("Create a task from the register's form", task_created, 4),
)


@pytest.fixture(scope="session")
def jobs_template(server_dsn: str, template_database: str) -> Iterator[tuple[str, Filled]]:
    """A filled database to be copied, and what is in it."""
    with servers.fresh_database(
        server_dsn, f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_jobs", template=template_database
    ) as dsn:
        filled = fill(dsn)
        with database(dsn) as db:
            db.execute("select pgsched.register(%s)", (json.dumps(REGISTERED),))
        yield psycopg.conninfo.conninfo_to_dict(dsn)["dbname"], filled  # nobody is connected: it can be copied


@pytest.fixture
def desk(
    browser: Browser,
    serve: Callable[..., str],
    server_dsn: str,
    jobs_template: tuple[str, Filled],
    database_name: str,
) -> Iterator[Desk]:
    name, filled = jobs_template
    with (
        servers.fresh_database(server_dsn, f"{database_name}_job", template=name) as dsn,
        Looks(browser, serve(dsn)) as looks,
        database(dsn) as db,
    ):
        yield Desk(Hand(looks("/")), db, filled)


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.do.__name__)
def test_job_takes_few_clicks(desk: Desk, job: Job) -> None:
    job.do(desk)
    assert desk.hand.clicks == job.clicks, job.words


def test_the_documentation_has_the_table_of_the_jobs() -> None:
    told = DOCUMENT.read_text(encoding="utf-8")
    assert len(JOBS) == 20
    assert [job.words for job in JOBS if f"| {job.words} | {job.clicks} |" not in told] == []
