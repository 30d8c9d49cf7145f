"""The worker processes of a trial."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Mapping
from pathlib import Path

from chaos.faults.system import Command
from tests.support.processes import PgschedProcess
from tests.support.waiting import wait_until


class Crew:
    """Workers with the same command, each in a numbered place; a worker that has exited can be replaced."""

    def __init__(
        self,
        *,
        command: Command,
        count: int,
        ready: str,
        folder: Path,
        dsn: Callable[[], str],
        environment: Mapping[str, str],
    ) -> None:
        """``dsn`` is asked whenever a worker is started; ``environment`` may be changed until then."""
        self.command = command
        self.count = count
        self.environment = environment
        self.dsn = dsn
        self.workers: list[PgschedProcess] = []
        self.deaths: list[str] = []
        """Those that ended by themselves: which, and what they said last."""
        self._ready = ready
        self._folder = folder
        self._started = 0

    def start(self) -> None:
        """Start all."""
        while len(self.workers) < self.count:
            self.workers.append(self._spawn())

    def replace(self, place: int) -> None:
        """Replace a worker that has exited."""
        self.workers[place] = self._spawn()

    def kill(self, place: int) -> None:
        """SIGKILL one, with all of its process group."""
        self.workers[place].kill()

    def revive(self) -> None:
        """Replace those that have ended by themselves."""
        for place, worker in enumerate(self.workers):
            if worker.returncode is not None:
                self.deaths.append(f"{worker} ended with {worker.returncode}: {_last_line(worker)}")
                with contextlib.suppress(ProcessLookupError):
                    worker.kill()  # what is left of its group
                self.replace(place)

    def is_ready(self, place: int) -> bool:
        """Whether the worker in that place claims."""
        return self._ready in self.workers[place].output

    def wait_until_ready(self, *, timeout: float = 30) -> None:
        """Wait until every worker claims."""
        for worker in self.workers:
            worker.wait_for_output(self._ready, timeout=timeout)

    def stop(self, *, timeout: float) -> list[str]:
        """SIGTERM all at once; returns what was wrong with their ends."""
        for worker in self.workers:
            if worker.returncode is None:
                worker.signal(signal.SIGTERM)
        wrong = []
        for worker in self.workers:
            try:
                code = worker.wait(timeout=timeout)
            except AssertionError:
                wrong.append(f"{worker} did not end within {timeout:g} s of SIGTERM: {_last_line(worker)}")
                worker.kill()
            else:
                if code:
                    wrong.append(f"{worker} ended with {code} after SIGTERM: {_last_line(worker)}")
        return wrong

    def kill_all(self) -> None:
        """Leave none behind."""
        for worker in self.workers:
            worker.kill()

    def outputs(self) -> Mapping[str, str]:
        """What every worker wrote, those included that were replaced; by file name."""
        return {path.name: path.read_text(errors="replace") for path in sorted(self._folder.glob("worker-*.std*"))}

    def wait_for_any(self, pattern: str, *, timeout: float = 10) -> None:
        """Wait until the output of some worker holds this text."""
        wait_until(
            lambda: any(pattern in text for text in self.outputs().values()),
            timeout=timeout,
            message=f"a worker writes {pattern!r}",
        )

    def _spawn(self) -> PgschedProcess:
        self._started += 1
        return PgschedProcess(
            self.command.arguments,
            module=self.command.module,
            folder=self._folder,
            name=f"worker-{self._started}",
            dsn=self.dsn(),
            env=self.environment,
        )


def _last_line(worker: PgschedProcess) -> str:
    lines = [line for line in worker.output.splitlines() if line.strip()]
    return lines[-1][:300] if lines else "it said nothing"
