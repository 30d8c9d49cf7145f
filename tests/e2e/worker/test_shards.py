"""Real processes over three databases: one worker serves all, and a tenant is moved under load while movers die."""

from __future__ import annotations

import random
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pgsched import ShardedClient
from tests.support.processes import PgschedProcess, PgschedRunner
from tests.support.shards import NAMES, tenant_of
from tests.support.tables import database
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

APP = """
import os
from pgsched import App

app = App()

@app.task("note")
def note(n: int):
    file = os.open("notes.txt", os.O_APPEND | os.O_CREAT | os.O_WRONLY)
    os.write(file, f"{n}\\n".encode())
    os.close(file)
"""
DOWN = "postgresql://nobody@127.0.0.1:1/nothing?connect_timeout=1"
PATIENCE = 60.0


@pytest.fixture
def app(tmp_path: Path) -> str:
    (tmp_path / "mod.py").write_text(APP)
    return "mod:app"


def options(shards: dict[str, str]) -> list[str]:
    return [word for name, dsn in shards.items() for word in ("--dsn", f"{name}={dsn}")]


def notes(folder: Path) -> list[int]:
    file = folder / "notes.txt"
    return sorted(map(int, file.read_text().split())) if file.exists() else []


def get(url: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_one_worker_serves_all_shards_and_one_that_is_down_stops_no_other(
    run_pgsched: PgschedRunner, shards: dict[str, str], app: str, tmp_path: Path
) -> None:
    with ShardedClient(shards) as client:
        for n, name in enumerate(NAMES):
            client.schedule("note", {"n": n}, tenant_id=tenant_of(name))
        worker = run_pgsched(*options(shards | {"c": DOWN}), "worker", "--app", app, "--metrics-port", "0")
        port = worker.wait_for_output(r'"port": ?(\d+)|port=(\d+)', timeout=PATIENCE).group(0).strip('"port:= ')
        wait_until(lambda: notes(tmp_path) == [0, 1], timeout=PATIENCE, message="the tasks of a and b have run")
        wait_until(lambda: get(f"http://127.0.0.1:{port}/readyz")[0] == 200, timeout=PATIENCE)
        assert "shard_down: shard c: " in get(f"http://127.0.0.1:{port}/readyz")[1]
        assert get(f"http://127.0.0.1:{port}/healthz")[0] == 200
        metrics = get(f"http://127.0.0.1:{port}/metrics")[1]
        lines = [line for line in metrics.splitlines() if line.startswith("pgsched_executions_total{")]
        assert {line.partition('shard="')[2][:1] for line in lines} == {"a", "b"}
        assert worker.stop(timeout=PATIENCE) == 0, worker.output
        assert "shard_down" in worker.stderr
        again = run_pgsched(*options(shards), "worker", "--app", app)
        wait_until(lambda: notes(tmp_path) == [0, 1, 2], timeout=PATIENCE, message="the task of c has run")
        assert again.stop(timeout=PATIENCE) == 0, again.output


def test_a_tenant_is_moved_under_load_while_movers_are_killed(
    run_pgsched: PgschedRunner, shards: dict[str, str], app: str, tmp_path: Path
) -> None:
    """Every task runs once: the file has a line for each attempt."""
    tenant, chance = tenant_of("a"), random.Random(21)
    worker = run_pgsched(*options(shards), "worker", "--app", app)
    scheduled: list[int] = []
    enough = threading.Event()

    def produce() -> None:
        with ShardedClient(shards, move_timeout=PATIENCE) as client:
            while not enough.is_set():
                n = len(scheduled)
                # Each call is made twice, as after a lost answer: the key makes it one task, in whichever shard.
                first = client.schedule(
                    "note", {"n": n}, tenant_id=tenant, idempotency_key=f"k{n}", delay=chance.random()
                )
                again = client.schedule("note", {"n": n}, tenant_id=tenant, idempotency_key=f"k{n}")
                assert again.id.outcome == "existing", (first, again)  # type: ignore[attr-defined]
                scheduled.append(n)

    def move(target: str) -> PgschedProcess:
        return run_pgsched(*options(shards), "shard", "move", tenant, "--to", target, "--timeout", "60")

    producer = threading.Thread(target=produce)
    producer.start()
    try:
        killed = 0
        for target in ("b", "c", "a"):
            wait_until(lambda: producer.is_alive(), message="the producer goes on")
            seconds = chance.uniform(0.5, 2.0)
            mover = move(target)
            time.sleep(seconds)
            if mover.returncode is None:
                mover.signal(signal.SIGKILL)
                mover.wait(timeout=PATIENCE)
                killed += 1
            last = move(target)
            assert last.wait(timeout=PATIENCE) == 0, last.output
    finally:
        enough.set()
        producer.join(PATIENCE)
    assert scheduled
    wait_until(lambda: notes(tmp_path) == scheduled, timeout=PATIENCE, message="every task has run once")
    assert worker.stop(timeout=PATIENCE) == 0, worker.output
    assert notes(tmp_path) == scheduled
    for name, dsn in shards.items():
        with database(dsn) as db:
            assert db.execute("select from pgsched.departing_tasks").fetchall() == [], name
            left = db.execute("select count(*) as n from pgsched.tasks where status <> 'completed'").fetchone()
            assert left == {"n": 0}, name
