"""README.md and docs/*.md: their examples run, their tables say what the program says."""

from __future__ import annotations

import asyncio
import importlib
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import click
import psycopg
import pytest
from prometheus_client import generate_latest

from pgsched.cli import commands
from pgsched.cli.schedules import SAID
from pgsched.config import WorkerSettings
from pgsched.cron import ALIASES, load_zone, next_tick, parse_cron
from pgsched.errors import InvalidCron
from pgsched.interval import Interval
from pgsched.preview import schedule_of
from pgsched.schedule import admit, next_after
from pgsched.worker.service import Worker
from tests.doc_examples import PAGES, RUN, SHOWN, Block, Story, blocks, table, tables
from tests.engine import handlers, nothing, on_loop
from tests.processes import CHECKOUT, PgschedRunner
from tests.tables import database, insert_task
from tests.waiting import wait_until, wait_until_async

EVERY_BLOCK = [block for page in PAGES for block in blocks(page)]
DEAD = {"handlers.md": ["charge"], "workflows.md": ["extract", "pgsched.group"]}
"""Tasks that a page makes fail for good, by their types."""

each_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
Row = dict[str, Any]


# The examples.


@pytest.mark.parametrize("block", EVERY_BLOCK, ids=str)
def test_block_is_of_a_kind_that_is_run_or_only_shown(block: Block) -> None:
    assert block.language in RUN + SHOWN
    assert block.not_run is None or block.language in RUN


@each_page
def test_examples_of_a_page_run_in_their_order(page: Path, tmp_path: Path, request: pytest.FixtureRequest) -> None:
    # README begins with `pgsched migrate`.
    dsn = request.getfixturevalue("empty_dsn" if page.name == "README.md" else "dsn")
    runner = PgschedRunner(folder=tmp_path, dsn=dsn)
    story = Story(folder=tmp_path, dsn=dsn, run_pgsched=runner)
    try:
        for block in blocks(page):
            if block.language in RUN and block.not_run is None:
                story.run(block)
        with database(dsn) as connection:
            wait_until(lambda: not _due(connection), timeout=20, message="all that the page scheduled has run")
            died = connection.execute("select task_type::text from pgsched.tasks where died_at is not null").fetchall()
        assert sorted(row["task_type"] for row in died) == DEAD.get(page.name, [])
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


# What the pages point to.


@each_page
def test_link_leads_to_a_file(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#]+)\)", page.read_text(encoding="utf-8"))
    missing = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert missing == []


@each_page
def test_path_in_the_checkout_exists(page: Path) -> None:
    paths = re.findall(r"`((?:pgsched|sql|tests|deploy)/[\w/.]+)`", page.read_text(encoding="utf-8"))
    assert [path for path in paths if not (CHECKOUT / path).exists()] == []


def test_every_page_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert [page.name for page in PAGES[1:] if f"(docs/{page.name})" not in readme] == []


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


# Configuration.


@pytest.mark.parametrize("path", ["pgsched", "pgsched worker", "pgsched dev", "pgsched web"])
def test_configuration_table_lists_every_option(path: str) -> None:
    command: click.Command = commands
    for name in path.split()[1:]:
        assert isinstance(command, click.Group)
        command = command.commands[name]
    expected = {}
    for option in command.params:
        assert isinstance(option, click.Option)
        if option.envvar is not None:
            flag = max(option.opts, key=len)
            expected[flag] = (option.envvar, _default(option))
    documented = table("operations", path)
    assert {row["option"]: (row["environment"], row["default"]) for row in documented.rows} == expected


def _default(option: click.Option) -> str:
    told = re.search(r"\[default: (.+)\]", option.help or "")
    if told:
        return told[1]
    default = option.to_info_dict()["default"]
    if default is None or (default is False and not option.is_flag):
        return ""
    return " ".join(default) if isinstance(default, tuple | list) else str(default)


# Metrics.


@on_loop
async def _scrape(dsn: str, found: dict[str, tuple[str, list[str]]]) -> None:
    worker = Worker(dsn=dsn, registry=handlers(mail=nothing), settings=WorkerSettings(), counts_table=True)
    running = asyncio.create_task(worker.run())

    def complete() -> bool:
        text = generate_latest(worker.metrics).decode()
        return "pgsched_unhandled_due{" in text and "pgsched_executions_total{" in text

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


def test_metrics_table_lists_every_metric(dsn: str) -> None:
    with database(dsn) as connection:
        insert_task(connection, "mail")
        insert_task(connection, "nobody's")
    found: dict[str, tuple[str, list[str]]] = {}
    _scrape(dsn, found)
    documented = table("operations", "Metrics")
    assert {
        row["name"]: (row["type"], sorted(row["labels"].replace(",", "").split())) for row in documented.rows
    } == found


# SQL.


def test_columns_table_is_that_of_the_database(dsn: str) -> None:
    with database(dsn) as connection:
        columns = connection.execute(
            """
            select a.attname::text as name, format_type(coalesce(nullif(t.typbasetype, 0), t.oid), null) as type,
              coalesce(split_part(pg_get_expr(d.adbin, d.adrelid), '::', 1), '') as default,
              col_description(a.attrelid, a.attnum) as comment
            from pg_attribute a
            join pg_type t on t.oid = a.atttypid
            left join pg_attrdef d on (d.adrelid, d.adnum) = (a.attrelid, a.attnum)
            where a.attrelid = 'pgsched.tasks'::regclass and a.attnum > 0 and not a.attisdropped
            order by a.attnum
            """
        ).fetchall()
    documented = {row["column"]: row for row in table("sql", "Columns of pgsched.tasks").rows}
    assert sorted(documented) == sorted(row["name"] for row in columns)  # the page groups them for readers
    for column in columns:
        row = documented[column["name"]]
        assert (row["type"], row["default"]) == (_short(column["type"]), column["default"]), column["name"]
        assert row["meaning"] == column["comment"], column["name"]


def test_columns_table_of_missed_ticks_is_that_of_the_database(dsn: str) -> None:
    with database(dsn) as connection:
        columns = connection.execute(
            """
            select attname::text as name, format_type(atttypid, null) as type,
              col_description(attrelid, attnum) as comment
            from pg_attribute
            where attrelid = 'pgsched.missed_ticks'::regclass and attnum > 0 and not attisdropped
            order by attnum
            """
        ).fetchall()
    documented = table("sql", "pgsched.missed_ticks").rows
    assert [(row["column"], row["type"]) for row in documented] == [
        (row["name"], _short(row["type"])) for row in columns
    ]
    for row, column in zip(documented, columns, strict=True):
        assert row["meaning"] == (column["comment"] or row["meaning"]), column["name"]
        assert row["meaning"], column["name"]


def _short(kind: str) -> str:
    return kind.replace("timestamp with time zone", "timestamptz")


def test_constraints_table_lists_every_constraint(dsn: str) -> None:
    with database(dsn) as connection:
        # A partition repeats the constraints of its table.
        found = connection.execute(
            """
            select c.conname::text as name,
              case c.contypid when 0 then 'table ' || r.relname else 'domain ' || t.typname end as of
            from pg_constraint c
            left join pg_type t on t.oid = c.contypid
            left join pg_class r on r.oid = c.conrelid
            where c.connamespace = 'pgsched'::regnamespace and c.contype = 'c' and r.relispartition is not true
            union all
            select r.relname, 'table ' || i.relname
            from pg_index x
            join pg_class r on r.oid = x.indexrelid
            join pg_class i on i.oid = x.indrelid
            where r.relnamespace = 'pgsched'::regnamespace and x.indisunique and not x.indisprimary
            """
        ).fetchall()
    documented = table("sql", "Constraints")
    assert {(row["constraint"], row["of"]) for row in documented.rows} == {(row["name"], row["of"]) for row in found}


def test_functions_table_lists_every_function_for_users(dsn: str) -> None:
    with database(dsn) as connection:
        found = connection.execute(
            """
            select p.proname::text as name, pg_get_function_identity_arguments(p.oid) as arguments,
              pg_get_function_result(p.oid) as returns, obj_description(p.oid, 'pg_proc') as comment
            from pg_proc p
            where p.pronamespace = 'pgsched'::regnamespace and obj_description(p.oid, 'pg_proc') is not null
            """
        ).fetchall()
    documented = {row["function"]: (row["returns"], row["meaning"]) for row in table("sql", "Functions").rows}
    assert documented == {
        f"{row['name']}({'…' if row['name'] == 'schedule' else row['arguments']})": (row["returns"], row["comment"])
        for row in found
    }


def test_arguments_table_is_that_of_schedule(dsn: str) -> None:
    with database(dsn) as connection:
        found = connection.execute(
            """
            select unnest(proargnames) as name, format_type(unnest(proargtypes::oid[]), null) as type
            from pg_proc where oid = 'pgsched.schedule'::regproc
            """
        ).fetchall()
    documented = table("sql", "Arguments of schedule")
    assert [(row["argument"], row["type"]) for row in documented.rows] == [
        (row["name"], _short(row["type"])) for row in found
    ]


def test_tables_table_lists_every_table(dsn: str) -> None:
    with database(dsn) as connection:
        found = connection.execute(
            """
            select 'pgsched.' || relname as name from pg_class
            where relnamespace = 'pgsched'::regnamespace and relkind in ('r', 'p') and not relispartition
              and relname <> 'tasks'
            """
        ).fetchall()
    assert {row["table"] for row in table("sql", "Other tables").rows} == {row["name"] for row in found}


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
        admission = admit(schedule, tick, thursday, len(ran))
        missed += admission.missed
        if admission.run is None:
            tick = admission.next_tick
        else:
            ran.append(f"{admission.run:%a}")
            tick = next_after(schedule, admission.run, len(ran))
    assert (", ".join(ran) or "nothing", str(missed)) == (row["runs on Thursday at 12:00"], row["not run"])
    assert tick == datetime(2030, 1, 11, 8, tzinfo=UTC)


def test_commands_table_lists_every_command() -> None:
    listed = [
        name.removeprefix("pgsched ")
        for row in table("operations", "Commands").rows
        for name in row["command"].split(", ")
    ]
    expected = set()
    for name, command in commands.commands.items():
        inner = command.commands if isinstance(command, click.Group) else {}
        expected |= {f"{name} {inside}" for inside in inner} or {name}
    assert set(listed) - {"worker"} == expected - {"worker"} - {"worker list"}


def test_outcomes_of_declared_schedules_are_those_of_the_command() -> None:
    told = {word for row in table("schedules", "Who wins").rows for word in row["told as"].split(", ")}
    assert told | {"in use"} == set(SAID)


def test_macros_table_is_that_of_the_program() -> None:
    rows = table("schedules", "Macros").rows
    assert {row["macro"]: row["stands for"] for row in rows} == ALIASES


@pytest.mark.parametrize("row", table("schedules", "What is refused").rows, ids=lambda row: row["expression"])
def test_refused_expression_is_found_by_whom_the_page_names(row: dict[str, str], dsn: str) -> None:
    with pytest.raises(InvalidCron):
        parse_cron(row["expression"])
    with database(dsn) as connection:
        found = connection.execute("select pgsched.cron_problem(%s) as problem", (row["expression"],)).fetchone()
    assert found is not None
    assert (found["problem"] is not None) == (row["found by"] == "database")
