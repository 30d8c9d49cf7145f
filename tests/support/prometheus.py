"""A real Prometheus on 127.0.0.1, in a folder of its own (``make test`` fetches it: deploy/install-prometheus.sh)."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.deploy.parts import program
from tests.support.processes import CHECKOUT
from tests.support.waiting import wait_until

DEPLOYED = CHECKOUT / "deploy" / "prometheus"
Labels = tuple[tuple[str, str], ...]


class Prometheus:
    """One that runs; asked by its HTTP API."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.at: float | None = None
        """The moment (seconds since 1970) that instant queries look at; None: when they are asked."""

    def ask(self, path: str, **parameters: str) -> Any:
        """What ``/api/v1/<path>`` answers; raises AssertionError with Prometheus's own words when it refuses."""
        given = urllib.parse.urlencode({name.removesuffix("_"): value for name, value in parameters.items()})
        try:
            with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{given}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def query(self, expression: str) -> dict[Labels, float]:
        """The instant vector of an expression: values by labels, without the name."""
        moment = {} if self.at is None else {"time": f"{self.at:.3f}"}
        found = self.ask("query", query=expression, **moment)
        assert found["resultType"] == "vector", f"{expression} gives a {found['resultType']}"
        return {_labels(series["metric"]): float(series["value"][1]) for series in found["result"]}

    def value(self, expression: str) -> float | None:
        """The one value of an expression; None when it has none."""
        values = list(self.query(expression).values())
        assert len(values) <= 1, f"{expression} has {len(values)} values"
        return values[0] if values else None

    def series(
        self, expression: str, *, start: float, end: float, step: float
    ) -> dict[Labels, list[tuple[float, float]]]:
        """The series of an expression over a time."""
        found = self.ask("query_range", query=expression, start=str(start), end=str(end), step=str(step))
        return {
            _labels(series["metric"]): [(float(at), float(value)) for at, value in series["values"]]
            for series in found["result"]
        }

    def label_values(self, label: str, selector: str) -> set[str]:
        """What Grafana's ``label_values(selector, label)`` gives."""
        return set(self.ask(f"label/{label}/values", **{"match[]": selector}))

    def is_ready(self) -> bool:
        """Whether it answers queries."""
        try:
            with urllib.request.urlopen(f"{self.url}/-/ready", timeout=2) as answer:
                return bool(answer.status == 200)
        except OSError:
            return False


def deployed_config(folder: Path, *, interval: str, token: str, workers: Mapping[str, int]) -> Path:
    """The files of deploy/prometheus in ``folder``, with another interval and other targets; the file to start with.

    ``workers`` has the ports by ``instance``. The web face comes later: :func:`add_web`.
    """
    config = (DEPLOYED / "prometheus.yml").read_text()
    assert config.count("_interval: 15s") == 2
    (folder / "prometheus.yml").write_text(config.replace("_interval: 15s", f"_interval: {interval}"))
    shutil.copy(DEPLOYED / "pgsched.rules.yml", folder)
    (folder / "metrics_token").write_text(token)
    (folder / "targets").mkdir()
    _write_targets(folder / "targets" / "workers.yml", workers)
    return folder / "prometheus.yml"


def add_web(folder: Path, port: int) -> None:
    """Let the web face be scraped from now on."""
    _write_targets(folder / "targets" / "web.yml", {"web": port})


def _write_targets(path: Path, ports: Mapping[str, int]) -> None:
    text = "".join(f'- targets: ["127.0.0.1:{port}"]\n  labels: {{instance: {name}}}\n' for name, port in ports.items())
    made = path.with_suffix(".new")
    made.write_text(text)
    made.rename(path)  # it must not be read half written


@contextmanager
def running(config: Path) -> Iterator[Prometheus]:
    """Run one until the end of the ``with``; its data and its log are beside the file."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    folder = config.parent
    with (folder / "prometheus.log").open("wb") as log:
        process = subprocess.Popen(
            [
                program("prometheus"),
                f"--config.file={config}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{port}",
                "--storage.tsdb.retention.time=1d",
            ],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        one = Prometheus(f"http://127.0.0.1:{port}")

        def ready() -> bool:
            assert process.poll() is None, (folder / "prometheus.log").read_text()[-2000:]
            return one.is_ready()

        wait_until(ready, message="Prometheus is ready")
        yield one
    finally:
        process.kill()  # nobody reads its data again
        process.wait()


def _labels(metric: Mapping[str, str]) -> Labels:
    return tuple(sorted((name, value) for name, value in metric.items() if name != "__name__"))
