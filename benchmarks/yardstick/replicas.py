"""The processes of one cell, and the records that they print."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from benchmarks.yardstick.systems import Adapter

ROOT = Path(__file__).parents[2]
READY_SECONDS = 60.0
STOP_SECONDS = 10.0
"""As long as that project waits for the end of an adapter."""


@dataclass(frozen=True)
class Sample:
    """One record of figures."""

    at: float
    """By our monotonic clock."""
    instance: int
    metric: str
    value: float
    window: float


class Replicas:
    """A number of processes of one adapter."""

    def __init__(self, adapter: Adapter, environment: Mapping[str, str], log: Path) -> None:
        self._adapter = adapter
        self._environment = {**os.environ, **environment, "PYTHONPATH": str(ROOT)}
        self._log = log
        self._processes: dict[int, subprocess.Popen[str]] = {}
        self._readers: list[threading.Thread] = []
        self._ready: dict[int, threading.Event] = {}
        self.samples: list[Sample] = []
        self.ended: list[str] = []
        """Processes that ended by themselves. Nobody starts them again, as in that project."""

    def start(self, instance: int, *, wait: bool = True) -> None:
        """Start one, and wait until it says what it is."""
        with self._log.open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                self._adapter.command,
                cwd=ROOT,
                env={**self._environment, "BENCH_INSTANCE_ID": str(instance)},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self._processes[instance] = process
        ready = self._ready[instance] = threading.Event()
        reader = threading.Thread(target=self._read, args=(process, ready), daemon=True)
        reader.start()
        self._readers.append(reader)
        if wait and not ready.wait(READY_SECONDS):
            raise RuntimeError(f"{self._adapter.name} did not start within {READY_SECONDS:g} s: {self.last_line()}")
        if wait and process.poll() is not None:
            raise RuntimeError(f"{self._adapter.name} ended at once: {self.last_line()}")

    def kill(self, instance: int) -> None:
        """SIGKILL one, unless it has ended."""
        process = self._processes.pop(instance, None)
        if process is None:
            return
        if process.poll() is not None:
            self.ended.append(f"code {process.returncode}")
        _kill(process)

    def look(self) -> None:
        """Note those that have ended by themselves."""
        for instance, process in list(self._processes.items()):
            if process.poll() is not None:
                self.ended.append(f"code {process.returncode}")
                del self._processes[instance]

    def stop(self) -> int:
        """SIGTERM for all; returns how many had to be killed after STOP_SECONDS."""
        self.look()
        for process in self._processes.values():
            process.terminate()
        deadline, killed = time.monotonic() + STOP_SECONDS, 0
        for process in self._processes.values():
            try:
                process.wait(max(deadline - time.monotonic(), 0.1))
            except subprocess.TimeoutExpired:
                killed += 1
            _kill(process)
        self._processes.clear()
        for reader in self._readers:
            reader.join(STOP_SECONDS)
        return killed

    def last_line(self) -> str:
        """Return the last line that an adapter wrote to its log."""
        lines = [line for line in self._log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
        return lines[-1][:200] if lines else "it said nothing"

    def _read(self, process: subprocess.Popen[str], ready: threading.Event) -> None:
        assert process.stdout is not None
        with process.stdout:
            for line in process.stdout:
                with contextlib.suppress(ValueError):
                    record = json.loads(line)
                    if record.get("kind") == "descriptor":
                        ready.set()
                    elif record.get("kind") == "adapter":
                        given = (record["instance_id"], record["metric"], record["value"], record["window_s"])
                        self.samples.append(Sample(time.monotonic(), *given))
        ready.set()


def _kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
