"""README.md and docs/*.md: their examples run, their tables say what the program says."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psycopg
import pytest
from prometheus_client import generate_latest

from pgsched.cli.schedule import SAID
from pgsched.domain.errors import InvalidCron
from pgsched.domain.interval import Interval
from pgsched.domain.scheduling.cron import ALIASES, load_zone, next_tick, parse_cron
from pgsched.domain.scheduling.preview import schedule_of
from pgsched.domain.scheduling.recurrence import admit, next_after
from pgsched.domain.settings import WorkerSettings
from pgsched.worker.worker import Worker
from tests.support.doc_examples import PAGES, Block, Story, blocks, table, tables
from tests.support.doc_programs import programs
from tests.support.engine import handlers, nothing
from tests.support.processes import CHECKOUT, PgschedRunner
from tests.support.tables import database, insert_task, set_dead, set_running
from tests.support.waiting import wait_until, wait_until_async

DEAD = {
    "from_cron.md": ["shell"],
    "handlers.md": ["charge"],
    "recipes.md": ["parse"],
    "workflows.md": ["extract", "pgsched.group"],
    "types.md": ["invoice"],
}
"""Tasks that a page makes fail for good, by their types."""

PEERS = CHECKOUT / "tests" / "support" / "peers"

LEFT = {"from_cron.md": {"mail.txt": "To: ops@example.com\nSubject: shell 10 failed\n"}}
"""What examples of a page leave in a file."""

TABLES_OF_OTHERS = {
    "from_procrastinate.md": "procrastinate.sql",
    "from_pgqueuer.md": "pgqueuer.sql",
    "from_oban.md": "oban.sql",
}
"""Files of tests/support/peers whose tables are in the database of a page before its first example."""

FROM_NOTHING = ("README.md", "getting_started.md", "index.md")
"""Pages that begin with `pgsched migrate`."""

WITH_EXAMPLES = [page for page in PAGES if any(block.runs for block in blocks(page))]
each_page = pytest.mark.parametrize("page", WITH_EXAMPLES, ids=lambda page: page.name)
Row = dict[str, Any]


# The examples.


@pytest.fixture(scope="session")
def doc_programs() -> Iterator[Path]:
    """A folder with the programs that examples call."""
    with programs() as folder:
        yield folder


@each_page
def test_examples_of_a_page_run_in_their_order(
    page: Path, tmp_path: Path, doc_programs: Path, request: pytest.FixtureRequest
) -> None:
    dsn = request.getfixturevalue("empty_dsn" if page.name in FROM_NOTHING else "dsn")
    runner = PgschedRunner(folder=tmp_path, dsn=dsn)
    story = Story(folder=tmp_path, dsn=dsn, run_pgsched=runner, programs=doc_programs)
    if page.name in TABLES_OF_OTHERS:
        with database(dsn) as connection:
            connection.execute((PEERS / TABLES_OF_OTHERS[page.name]).read_text(encoding="utf-8"))
    try:
        for block in blocks(page):
            if block.runs:
                story.run(block)
        with database(dsn) as connection:
            wait_until(lambda: not _due(connection), message="all that the page scheduled has run")
            died = connection.execute("select task_type::text from pgsched.tasks where died_at is not null").fetchall()
        assert sorted(row["task_type"] for row in died) == DEAD.get(page.name, [])
        for name, text in LEFT.get(page.name, {}).items():
            file = tmp_path / name
            wait_until(lambda: file.exists() and text in file.read_text(), message=f"{name} says {text!r}")  # noqa: B023
        story.end()
    finally:
        runner.kill_all()


def _due(connection: psycopg.Connection[Row]) -> list[Row]:
    """What is due, or is to be tried again, and has a handler in some worker of the page."""
    return connection.execute(
        """
        select t.task_type, t.status, t.last_error
        from pgsched.tasks t
        where (t.next_run_at < now() or t.attempts > 0 and t.next_run_at is not null) and t.enabled and exists (
          select from pgsched.workers w
          where t.queue = any (w.queues) and t.task_type = any (w.task_types))
        """
    ).fetchall()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("python", "raise SystemExit(3)\n"),
        ("python", "import nothing_of_that_name\n"),
        ("sh", "pgsched task show 4711\n"),
        ("sh", "python -c 'raise SystemExit(1)'\n"),
        ("console", "$ pgsched schedule next @daily -n 1 --from 2030-01-01T00:00Z --json\n[]\n"),
        ("sql", "select 1 / 0\n"),
        ("sql", "select 1\n-- ERROR: there is none\n"),
    ],
)
def test_example_that_fails_fails_its_page(
    language: str, text: str, dsn: str, tmp_path: Path, doc_programs: Path
) -> None:
    runner = PgschedRunner(folder=tmp_path, dsn=dsn)
    story = Story(folder=tmp_path, dsn=dsn, run_pgsched=runner, programs=doc_programs)
    with pytest.raises(AssertionError):
        story.run(Block(page=PAGES[0], line=1, language=language, text=text, not_run=None))


# Numbers.


def _limits() -> Iterator[tuple[str, str, str]]:
    for page in PAGES:
        for one in tables(page):
            if one.columns == ("what", "limit", "set in"):
                for row in one.rows:
                    yield row["what"], row["limit"], row["set in"]


@pytest.mark.parametrize(("what", "limit", "name"), list(_limits()), ids=lambda value: value)
def test_limit_is_that_of_the_program(what: str, limit: str, name: str) -> None:
    module, _, attribute = name.rpartition(".")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError:  # a field of a class
        module, _, owner = module.rpartition(".")
        found = getattr(getattr(importlib.import_module(module), owner), attribute)
    if isinstance(found, timedelta):
        found = found.total_seconds()
    assert int(limit.replace(",", "")) == found


# Metrics.


_LATE = ("pgsched_unhandled_due", "pgsched_executions_total", "pgsched_pruned_total", "pgsched_ticks_missed_total")


async def _scrape(dsn: str, found: dict[str, tuple[str, list[str]]]) -> None:
    worker = Worker(dsn=dsn, registry=handlers(mail=nothing), settings=WorkerSettings(), counts_table=True)
    running = asyncio.create_task(worker.run())

    def complete() -> bool:
        text = generate_latest(worker.metrics).decode()
        return all(f"{name}{{" in text for name in _LATE)

    try:
        await wait_until_async(complete, message="every metric has a sample")
    finally:
        worker.stop()
        await running
    text = generate_latest(worker.metrics).decode()
    for name, kind in re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE):
        sample = re.search(rf"^{name}(?:_count)?(?:{{(.*)}})? ", text, re.MULTILINE)
        assert sample, f"{name} has no sample"
        labels = re.findall(r'(\w+)="', sample[1] or "")
        found[name] = (kind, sorted(labels))


async def test_metrics_table_lists_every_metric(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, "mail")
        insert_task(connection, "mail", repeat_interval="1 second")
        insert_task(connection, "nobody's")
        set_dead(connection, insert_task(connection, scheduled_for="2026-01-01Z", alert_if_no_success_for="1 hour"))
        set_running(connection, insert_task(connection, alert_if_running_for="1 hour"), lease="1 day")
        connection.execute("update pgsched.tasks set started_at = now() - interval '2 hours' where status = 'running'")
        connection.execute("update pgsched.settings set retention = '1 day'")
    found: dict[str, tuple[str, list[str]]] = {}
    await _scrape(dsn, found)
    documented = table("operations", "Metrics")
    assert {
        row["name"]: (row["type"], sorted(row["labels"].replace(",", "").split())) for row in documented.rows
    } == found


# Schedules.


@pytest.mark.parametrize(
    "row", table("schedules", "Examples").rows, ids=lambda row: f"{row['expression']} {row['from (UTC)']}"
)
def test_example_of_daylight_saving_is_what_the_program_computes(row: dict[str, str]) -> None:
    cron, zone = parse_cron(row["expression"]), load_zone("Europe/Berlin")
    tick: datetime | None = datetime.fromisoformat(row["from (UTC)"]).replace(tzinfo=UTC)
    for expected in row["ticks (UTC)"].split(", "):
        assert tick is not None
        tick = next_tick(cron, zone, tick)
        assert tick == datetime.fromisoformat(expected).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    "row", table("schedules", "Downtime").rows, ids=lambda row: f"{row['on_missed']} {row['catchup_window']}".strip()
)
def test_example_of_downtime_is_what_the_program_does(row: dict[str, str]) -> None:
    hours = re.match(r"\d+", row["catchup_window"])
    window = None if hours is None else Interval(microseconds=int(hours[0]) * 3_600_000_000)
    schedule = schedule_of("0 8 * * *")._replace(on_missed=row["on_missed"], catchup_window=window)
    tick: datetime | None = datetime(2030, 1, 7, 8, tzinfo=UTC)  # a Monday
    thursday = datetime(2030, 1, 10, 12, tzinfo=UTC)
    ran, missed = [], 0
    while tick is not None and tick < thursday:
        admission = admit(schedule, tick, tick, thursday, len(ran))
        missed += admission.missed
        if admission.run is None:
            tick = admission.next_tick
        else:
            ran.append(f"{admission.run:%a}")
            tick = next_after(schedule, admission.run, len(ran))
    assert (", ".join(ran) or "nothing", str(missed)) == (row["runs on Thursday at 12:00"], row["not run"])
    assert tick == datetime(2030, 1, 11, 8, tzinfo=UTC)


def test_outcomes_of_declared_schedules_are_those_of_the_command() -> None:
    told = {word for row in table("schedules", "Who wins").rows for word in row["told as"].split(", ")}
    assert told | {"in use"} == set(SAID)


def test_macros_table_is_that_of_the_program() -> None:
    rows = table("schedules", "Macros").rows
    assert {row["macro"]: row["stands for"] for row in rows} == ALIASES


@pytest.mark.parametrize("row", table("schedules", "What is refused").rows, ids=lambda row: row["expression"])
def test_refused_expression_is_refused_by_python_and_the_database(row: dict[str, str], dsn: str) -> None:
    with pytest.raises(InvalidCron):
        parse_cron(row["expression"])
    with database(dsn) as connection:
        found = connection.execute("select pgsched.cron_problem(%s) as problem", (row["expression"],)).fetchone()
    assert found is not None
    assert found["problem"] is not None
