"""``python -m benchmarks.monitoring``: draws what the Grafana dashboard shows of a load run into docs/monitoring.png.

Workers run under a load that changes for five minutes; a real Prometheus scrapes them and answers its queries.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import psycopg

from benchmarks.databases import SETTINGS
from benchmarks.panels import Event, Shot, draw
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from tests.deploy.dashboard import Dashboard, substituted
from tests.support import prometheus
from tests.support.processes import CHECKOUT, PgschedProcess
from tests.support.prometheus import Prometheus
from tests.support.servers import fast_folder
from tests.support.waiting import wait_until

TOKEN = "metrics-token-of-the-load-run"
RATE_INTERVAL = "8s"
STEP = 1.0
SECONDS = 300
WARM_UP = 10.0
"""Seconds at the beginning that are not drawn, because rates need a few scrapes."""
PORTION_SECONDS = 0.5
EACH_SECOND = {("email", "mail"): 160, ("resize", "media"): 16, ("charge", "billing"): 24}
Connection = psycopg.Connection[tuple[Any, ...]]


class Run:
    """Workers, a web face and a Prometheus on a database, and what is done to them when."""

    def __init__(self, *, folder: Path, dsn: str, stack: ExitStack) -> None:
        self._folder, self._dsn, self._stack = folder, dsn, stack
        self._db: Connection = stack.enter_context(psycopg.connect(dsn, autocommit=True))
        self._service_is_down = False
        self._workers: dict[str, PgschedProcess] = {}
        self._ports: dict[str, int] = {}
        self.events: list[Event] = []

    def plan(self) -> list[tuple[float, str, Callable[[], None]]]:
        """What happens, in seconds from the begin, as the picture tells it."""
        return [
            (50, "40,000 emails at once", lambda: self._insert("email", "mail", 40_000)),
            (115, "the payment service is down", lambda: self._set_service(down=True)),
            (160, "it is back", lambda: self._set_service(down=False)),
            (185, "worker b is stopped, 15,000 emails", self._stop_and_burst),
            (200, "a process of worker a is killed", self._kill_child),
            (225, "worker b is back", lambda: self.start_worker("b", 1)),
            (265, "all connections are cut", self._cut_connections),
        ]

    def start_worker(self, name: str, processes: int) -> int:
        """Start a worker, one that was there before on the port it had; returns its port."""
        known = self._ports.get(name, 0)
        served = [argument for queue in ("mail", "media", "billing") for argument in ("--queue", queue)]
        options = ["--processes", str(processes), "--concurrency", "15", "--lease", "9", "--metrics-port", str(known)]
        process = self._stack.enter_context(
            PgschedProcess(
                ["worker", "--app", "benchmarks.monitored_app:app", *served, *options],
                folder=self._folder,
                name=f"{name}-{len(self.events)}",
                dsn=self._dsn,
            )
        )
        found = process.wait_for_output(r'"port": (\d+)', timeout=30)
        self._workers[name] = process
        self._ports[name] = int(found[1])
        return self._ports[name]

    def start_web(self) -> int:
        """Start the web server and return its port."""
        env = {"PGSCHED_METRICS_TOKEN": TOKEN, "PGSCHED_VIEWER_TOKEN": "viewer-token-of-the-load-run"}
        web = self._stack.enter_context(
            PgschedProcess(["web", "--port", "0"], folder=self._folder, name="web", dsn=self._dsn, env=env)
        )
        return int(web.wait_for_output(r"http://127\.0\.0\.1:(\d+)/", timeout=30)[1])

    def work(self, seconds: float) -> tuple[float, float]:
        """Load the workers, and do what is planned; returns begin and end, in seconds of the Unix time."""
        self._db.execute(
            "insert into pgsched.tasks (task_type, queue, repeat_interval) values ('report', 'media', '5 seconds')"
        )
        begin, planned, portion = time.time(), self.plan(), 0
        scale = seconds / SECONDS
        while (now := time.time() - begin) < seconds:
            while planned and now >= planned[0][0] * scale:
                _, text, act = planned.pop(0)
                self.events.append(Event(at=time.time() - begin, text=text))
                print(f"{now:6.1f} s  {text}", flush=True)
                act()
            for (task_type, queue), number in EACH_SECOND.items():
                self._insert(task_type, queue, round(number * PORTION_SECONDS))
            portion += 1
            time.sleep(max(0.0, begin + portion * PORTION_SECONDS - time.time()))
        return begin, time.time()

    def _insert(self, task_type: str, queue: str, number: int) -> None:
        payload = '{"service_is_down": true}' if task_type == "charge" and self._service_is_down else "{}"
        self._db.execute(
            "insert into pgsched.tasks (task_type, queue, payload, backoff, backoff_delay) "
            "select %s, %s, %s::jsonb, 'fixed', '2 seconds' from generate_series(1, %s)",
            (task_type, queue, payload, number),
        )

    def _set_service(self, *, down: bool) -> None:
        self._service_is_down = down

    def _stop_and_burst(self) -> None:
        self._workers["b"].signal(signal.SIGTERM)
        self._insert("email", "mail", 15_000)

    def _kill_child(self) -> None:
        alive = self._db.execute("select pid from pgsched.workers where heartbeat_at > now() - interval '5 s'")
        parents = {one.pid for one in self._workers.values()}
        os.kill(next(pid for (pid,) in alive.fetchall() if pid not in parents), signal.SIGKILL)

    def _cut_connections(self) -> None:
        self._db.execute(
            "select pg_terminate_backend(pid) from pg_stat_activity "
            "where datname = current_database() and application_name like 'pgsched %'"
        )


def take(seen: Prometheus, begin: float, end: float) -> list[Shot]:
    """Ask the dashboard's queries over the time."""
    values = {"job": "pgsched", "queue": ".*", "task_type": ".*", "__rate_interval": RATE_INTERVAL}
    shots = []
    for panel in Dashboard.read().panels:
        lines = {}
        for target in panel["targets"]:
            found = seen.series(substituted(target["expr"], values), start=begin + WARM_UP, end=end, step=STEP)
            for labels, points in found.items():
                legend = target["legendFormat"]
                for name, value in labels:
                    legend = legend.replace(f"{{{{{name}}}}}", value)
                lines[legend] = [(at - begin, value) for at, value in points]
        shots.append(Shot(panel=panel, lines=lines))
    return shots


def main(arguments: Sequence[str] | None = None) -> None:
    """Run, ask, draw."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.monitoring", description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS, help=f"how long the load runs (default: {SECONDS})")
    parser.add_argument("--out", type=Path, default=CHECKOUT / "docs" / "monitoring.png", help="where the picture goes")
    options = parser.parse_args(arguments)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="pgsched-load-", dir=fast_folder())))
        server = stack.enter_context(EmbeddedServer.start(folder / "server", options=SETTINGS))
        migrate(server.dsn)
        run = Run(folder=folder, dsn=server.dsn, stack=stack)
        ports = {"a": run.start_worker("a", 2), "b": run.start_worker("b", 1)}
        config = prometheus.deployed_config(folder, interval="1s", token=TOKEN, workers=ports)
        prometheus.add_web(folder, run.start_web())
        seen = stack.enter_context(prometheus.running(config))
        wait_until(lambda: seen.value("sum(pgsched_slots)") == 45, timeout=60, message="three processes are scraped")
        begin, end = run.work(options.seconds)
        shots = take(seen, begin, end)
    draw(shots, run.events, options.out)
    print(f"drawn: {options.out} ({options.out.stat().st_size // 1000} kB)")


if __name__ == "__main__":
    main()
