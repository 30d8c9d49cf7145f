"""``pgsched bench``: measures in a queue of its own, and leaves nothing behind."""

from __future__ import annotations

import re
import signal
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import make_conninfo

from pgsched.bench.forecast import PROCESSORS, Site
from pgsched.bench.report import Report, hints, percentile, size_of
from pgsched.cli.bench import _show
from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner
from tests.support.tables import add_worker, database, insert_task, set_completed, set_dead
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

SMALL = ("bench", "--tasks", 300, "--seconds", 0.3, "--yes")


def _counts(connection: psycopg.Connection[dict[str, Any]]) -> dict[str, int]:
    row = connection.execute(
        """
        select (select count(*) from pgsched.tasks) as tasks, (select count(*) from pgsched.executions) as executions,
          (select count(*) from pgsched.queues) as queues, (select count(*) from pgsched.workers) as workers
        """
    ).fetchone()
    assert row is not None
    return row


def test_bench_measures_and_leaves_the_tables_as_they_were(dsn: str) -> None:
    with database(dsn) as connection:
        # Rows that a worker would run if it looked beyond its queue, and those that a clean-up might take along.
        insert_task(connection, "noop")
        insert_task(connection, "stamp", queue="pgsched_bench")
        set_completed(connection, insert_task(connection, "noop", queue="pgsched_bench_other"))
        set_dead(connection, insert_task(connection, "noop"))
        rows = connection.execute("select * from pgsched.tasks order by id").fetchall()
        before = _counts(connection)
        ended = pgsched(*SMALL, "--handler", 0.002, "--json", dsn=dsn)
        assert ended.code == 0, ended
        assert _counts(connection) == before
        assert connection.execute("select * from pgsched.tasks order by id").fetchall() == rows
    found = ended.__class__(0, ended.stdout, "").json()
    assert (found["tasks"], found["processes"]) == (300, 1)
    assert found["sync_p50"] >= 0
    assert found["cores"] >= 1
    assert found["handler"] == 2  # ms
    for figure in (
        "round_trip_p50",
        "single_per_second",
        "bulk_per_second",
        "drain_per_second",
        "wal_per_task",
        "disk_per_million",
        "worker_megabytes",
    ):
        assert found[figure] > 0, figure
    assert found["pickup_p50"] >= 0  # 0: begun before the insert was known to be committed
    assert found["settings"]["fsync"] in ("on", "off")
    assert "deleted 31" in ended.stderr


def test_bench_leaves_nothing_behind_after_ctrl_c(dsn: str, run_pgsched: PgschedRunner) -> None:
    bench = run_pgsched("bench", "--tasks", "300", "--seconds", "60", "--yes")
    bench.wait_for_output("measuring how soon")
    with database(dsn) as connection:
        wait_until(lambda: _counts(connection)["tasks"] > 300, message="it inserts single tasks")
        bench.signal(signal.SIGINT, group=True)
        assert bench.wait() == 130
        assert _counts(connection) == {"tasks": 0, "executions": 0, "queues": 0, "workers": 0}


MEDDLING = """
from pgsched import App

app = App()


@app.task("noop")
async def noop(missing: str) -> None: ...


@app.task("stamp")
async def stamp(missing: str) -> None: ...
"""


def test_worker_of_every_queue_has_no_part_in_it(dsn: str, run_pgsched: PgschedRunner) -> None:
    (run_pgsched.folder / "meddling.py").write_text(MEDDLING)
    worker = run_pgsched("worker", "--app", "meddling:app", "--queue", "*", "--metrics-port", "0")
    worker.wait_for_output("metrics_served")
    with database(dsn) as connection:
        insert_task(connection, "noop", payload='{"missing": "no"}')
        wait_until(
            lambda: connection.execute("select from pgsched.tasks where status = 'completed'").fetchall(),
            message="the worker works",
        )
        ended = pgsched(*SMALL, "--json", dsn=dsn)
        assert ended.code == 0, ended
        strange = "select count(*) as n from pgsched.executions where task_type <> 'noop'"
        assert connection.execute(strange).fetchone() == {"n": 0}
        assert _counts(connection)["tasks"] == 1


def test_figures_of_tasks_that_somebody_changed_are_refused_and_nothing_is_left(dsn: str) -> None:
    with database(dsn) as connection:
        connection.execute(
            """
            create function spoil() returns trigger language plpgsql as $$
            begin
              new.next_run_at := null;
              new.status := 'cancelled';
              new.completed_at := now();
              return new;
            end $$;
            create trigger z_spoil before insert on pgsched.tasks
            for each row when (new.id % 100 = 0) execute function spoil()
            """
        )
        ended = pgsched(*SMALL, "--json", dsn=dsn)
        assert (ended.code, ended.stdout) == (1, "")
        last = ended.stderr.splitlines()[-1]
        assert re.fullmatch(
            r"pgsched: the measurement is unusable: other workers made 0 attempts at its tasks, "
            r"and [1-9]\d* of its tasks were not completed",
            last,
        )
        assert _counts(connection) == {"tasks": 0, "executions": 0, "queues": 0, "workers": 0}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_bench_leaves_nothing_behind_however_often_it_is_interrupted(
    dsn: str, run_pgsched: PgschedRunner, number: signal.Signals
) -> None:
    bench = run_pgsched("bench", "--tasks", "300", "--seconds", "60", "--yes")
    bench.wait_for_output("measuring how soon")

    def over() -> bool:
        bench.signal(number, group=True)
        return bench.returncode is not None

    wait_until(over, message="it ends, however often it is interrupted")
    assert bench.wait() == 130
    with database(dsn) as connection:
        assert _counts(connection) == {"tasks": 0, "executions": 0, "queues": 0, "workers": 0}


def test_prediction_that_cannot_be_read_is_rejected_before_anything_is_measured(dsn: str) -> None:
    ended = pgsched(*SMALL, "--predict", "cores=8,disk=1ms", dsn=dsn)
    assert ended.code == 2
    assert "invalid prediction 'disk=1ms': must be NAME=VALUE, NAME one of cores" in ended.stderr
    assert "round trip" not in ended.stderr


def test_server_that_is_in_use_is_measured_only_when_somebody_says_so(dsn: str) -> None:
    with database(dsn) as connection:
        add_worker(connection, queues=["default"], task_types=["mail"])
        insert_task(connection)
        ended = pgsched("bench", "--tasks", 300, dsn=dsn)
        assert ended.code == 2
        assert "The server is in use: 1 workers live, 1 tasks are due" in ended.stderr
        assert "stdin is not a terminal: confirm with --yes" in ended.error
        ended = pgsched("bench", "--tasks", 300, dsn=dsn, typed="n\n")
        assert ended.code == 1
        assert "Measure it anyway?" in ended.stderr
        assert _counts(connection)["tasks"] == 1


def test_role_that_may_not_clean_up_is_refused_before_anything_is_inserted(dsn: str) -> None:
    with database(dsn) as connection:
        assert pgsched("migrate", "--roles", dsn=dsn).code == 0
        ended = pgsched(*SMALL, dsn=make_conninfo(dsn, options="-c role=pgsched_worker"))
        assert ended.code == 1
        assert "may not do this" in ended.stderr
        assert _counts(connection)["tasks"] == 0


@pytest.mark.parametrize(
    ("values", "share", "expected"), [([3, 1, 2], 0.5, 2), ([1], 0.99, 1), (range(101), 0.99, 99), ([5, 4], 1, 5)]
)
def test_percentile_is_a_value_that_was_measured(values: Any, share: float, expected: float) -> None:
    assert percentile(values, share) == expected


def _report(settings: dict[str, str], **others: Any) -> Report:
    figures = {name: 1.0 for name in Report.__annotations__ if name not in ("version", "settings", "sites")}
    figures["handler"] = 0.0
    return Report(version="18", settings=settings, **{**figures, **others})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("report", "said"),
    [
        (_report({"fsync": "off"}), "fsync is off"),
        (_report({"synchronous_commit": "off"}), "synchronous_commit is off"),
        (_report({"synchronous_standby_names": "one"}), "synchronous standby"),
        (_report({"full_page_writes": "on", "wal_compression": "off"}), "wal_compression is off"),
        (_report({"autovacuum": "off"}), "autovacuum is off"),
        (_report({"max_wal_size": "1GB"}), "max_wal_size is small"),
        (_report({"shared_buffers": "128MB"}), "shared_buffers is small"),
        (_report({}, round_trip_p50=5.0), "the server is 5.0 ms away"),
        (_report({}, single_p50=20.0), "a commit takes 19 ms"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_hint_is_given_where_its_cause_is(report: Report, said: str) -> None:
    assert any(said in one for one in hints(report))
    fine = {"fsync": "on", "max_wal_size": "8GB", "shared_buffers": "1GB", "wal_compression": "lz4"}
    assert hints(_report(fine)) == []


KNOWN = {
    "worker_processor": 0.015,
    "server_processor": 0.025,
    "insert_processor": 0.25,
    "drain_per_second": 40_000.0,
    "processes": 4,
}
SITE = Site(cores=8, processes=4, round_trip=0.001)


def test_report_predicts_each_site_from_what_it_measured() -> None:
    report = _report({}, **KNOWN, cores=2, sites=(SITE,))
    costs = report.costs
    assert costs is not None
    assert (costs.worker, costs.server, costs.efficiency) == pytest.approx((15e-6, 25e-6, 0.8))
    (found,) = report.as_dict()["predictions"]
    assert (found["cores"], found["processes"], found["round_trip"]) == (8, 4, 1.0)
    assert (found["drain_per_second"], found["drain_limit"]) == (160_000, PROCESSORS)
    assert "sites" not in report.as_dict()


def test_report_predicts_nothing_without_the_processor_time_of_the_server() -> None:
    report = _report({}, **{**KNOWN, "server_processor": None}, sites=(SITE,))
    assert report.costs is None
    assert report.as_dict()["predictions"] == []


def test_prediction_is_printed_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    _show(_report({}, **KNOWN, cores=2, sites=(SITE,)))
    printed = capsys.readouterr().out
    assert "Prediction, from what this run measured of a task:" in printed
    row = next(line for line in printed.splitlines() if line.startswith("8 cores, 4 × 1"))
    assert "160,000" in row
    assert PROCESSORS in row
    _show(_report({}, **{**KNOWN, "server_processor": None}))
    assert "No prediction: the processor time of the server is not visible from here" in capsys.readouterr().out


def test_sizes_are_read_as_the_server_shows_them() -> None:
    assert [size_of(text) for text in ("16kB", "128MB", "8GB", "off", "")] == [16384, 134217728, 8589934592, 0, 0]
