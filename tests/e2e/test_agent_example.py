"""The agent of examples/agent, with its stand-in for a model: killed at random moments, and right in the end."""

from __future__ import annotations

import os
import random
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.support.processes import CHECKOUT, PgschedProcess
from tests.support.tables import database, task_row
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

AGENT = CHECKOUT / "examples" / "agent"
KILLS = 6
LATE = {2: 20, 4: 40, 13: 130, 15: 150}
"""Orders and their prices."""
Connection = psycopg.Connection[dict[str, Any]]


@pytest.fixture
def db(dsn: str) -> Iterator[Connection]:
    with database(dsn) as connection:
        connection.execute((AGENT / "tables.sql").read_text())
        yield connection


@pytest.fixture
def model(tmp_path: Path) -> Iterator[PgschedProcess]:
    with PgschedProcess(
        ["0"], folder=tmp_path, name="model", module="fake_model", env={"PYTHONPATH": str(AGENT)}
    ) as model:
        yield model


@pytest.fixture
def start_worker(dsn: str, tmp_path: Path, model: PgschedProcess) -> Iterator[Callable[[], PgschedProcess]]:
    port = model.wait_for_output(r"listens on port (\d+)")[1]
    workers: list[PgschedProcess] = []
    env = {
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(AGENT)]),
        "MODEL_URL": f"http://127.0.0.1:{port}",
    }

    def start() -> PgschedProcess:
        command = ["worker", "--app", "agent:app", "--lease", "2"]
        workers.append(PgschedProcess(command, folder=tmp_path, name=f"worker-{len(workers)}", dsn=dsn, env=env))
        return workers[-1]

    with PgschedProcess(["sync", "--app", "agent:app"], folder=tmp_path, name="sync", dsn=dsn, env=env) as sync:
        assert sync.wait() == 0, sync.output  # so that a task from SQL has the handler's options
    yield start
    for worker in workers:
        worker.kill()


def test_agent_asks_the_model_for_nothing_twice_that_it_knows(
    db: Connection, model: PgschedProcess, start_worker: Callable[[], PgschedProcess]
) -> None:
    task = _ask(db)
    seed = random.randrange(1_000_000)
    print(f"seed {seed}")  # shown when it fails
    chance = random.Random(seed)
    kills = 0
    while kills < KILLS and not _is_over(db, task):
        worker = start_worker()
        _wait_for_some_progress(db, task, model, chance)
        worker.kill()
        kills += 1
    worker = start_worker()
    worker.wait_for_output("worker_started")
    wait_until(lambda: _is_over(db, task), message="the agent answers")
    assert worker.stop() == 0, worker.output

    assert task_row(db, task)["result"] == "; ".join(
        f"order {order}: {price} are refunded" for order, price in LATE.items()
    )
    refunds = db.execute("select order_number, amount from shop_refunds order by 1").fetchall()
    assert [tuple(row.values()) for row in refunds] == list(LATE.items())
    recorded = db.execute(
        "select key::integer as turn, (result ->> 'number')::integer as number from pgsched.durable_steps "
        "where task_id = %s and name = 'model' and status = 'completed'",
        [task],
    ).fetchall()
    last_calls = {turn: number for number, turn in _calls(model)}
    assert {row["turn"]: row["number"] for row in recorded} == last_calls, "a turn was asked for after it was recorded"
    taken = db.execute("select name from pgsched.durable_events where consumed_at is not null").fetchall()
    assert sorted(row["name"] for row in taken) == [f"approval call-{number}" for number in range(22, 26)]
    assert kills >= 3, "it was over too soon: the test shows nothing"


def test_agent_takes_a_refusal(
    db: Connection, model: PgschedProcess, start_worker: Callable[[], PgschedProcess]
) -> None:
    task = _ask(db)
    worker = start_worker()
    wait_until(lambda: _is_over(db, task, approved=False), message="the agent answers")
    assert worker.stop() == 0, worker.output
    assert task_row(db, task)["result"] == "; ".join(f"order {order}: a person has refused this" for order in LATE)
    assert db.execute("select * from shop_refunds").fetchall() == []
    assert set(Counter(turn for _, turn in _calls(model)).values()) == {1}


def _wait_for_some_progress(db: Connection, task: int, model: PgschedProcess, chance: random.Random) -> None:
    """Wait until the model was asked a few times more, or an answer was sent, and then for a moment."""
    asked = len(_calls(model)) + chance.randint(1, 2)
    wait_until(
        lambda: len(_calls(model)) >= asked or _is_over(db, task) or _answers(db) > 0,
        message=f"the model is asked for call {asked}",
    )
    moment = time.monotonic() + chance.uniform(0, 0.25)
    wait_until(lambda: time.monotonic() >= moment, message="a moment is over")


def _ask(db: Connection) -> int:
    row = db.execute(
        "select pgsched.schedule('agent', '{\"question\": \"Which orders of Ada are late?\"}') as id"
    ).fetchone()
    assert row is not None
    return int(row["id"])


def _calls(model: PgschedProcess) -> list[tuple[int, int]]:
    """The calls that the model got: their numbers and turns."""
    return [(int(number), int(turn)) for number, turn in re.findall(r"^call (\d+): turn (\d+)$", model.stdout, re.M)]


def _is_over(db: Connection, task: int, *, approved: bool = True) -> bool:
    """Whether the agent has answered. What waits for a person is answered on the way, each time again."""
    waiting = db.execute(
        "select name from pgsched.durable_steps where task_id = %s and kind = 'event' and status = 'waiting'", [task]
    ).fetchall()
    for row in waiting:
        db.execute(
            "select pgsched.emit(%s::bigint, %s, jsonb_build_object('approved', %s::boolean), 'once')",
            [task, row["name"], approved],
        )
    row = task_row(db, task)
    assert row["status"] not in ("dead", "cancelled"), row["last_error"]
    return bool(row["status"] == "completed")


def _answers(db: Connection) -> int:
    return len(db.execute("select from pgsched.durable_events where consumed_at is null").fetchall())
