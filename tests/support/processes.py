"""The real ``pgsched`` command in real processes, for end-to-end and chaos tests."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.support.waiting import TIMEOUT, wait_until

CHECKOUT = Path(__file__).resolve().parents[2]


class PgschedProcess:
    """One ``pgsched`` process: in a process group of its own, its output in two files of ``folder``."""

    def __init__(
        self,
        arguments: Sequence[str],
        *,
        folder: Path,
        name: str = "pgsched",
        dsn: str | None = None,
        env: Mapping[str, str] | None = None,
        module: str = "pgsched",
    ) -> None:
        """``module`` is run as ``python -m module``."""
        self.module, self.arguments = module, list(arguments)
        self.stdout_file, self.stderr_file = folder / f"{name}.stdout", folder / f"{name}.stderr"
        with self.stdout_file.open("wb") as stdout, self.stderr_file.open("wb") as stderr:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=folder,  # so that `--app mod:app` finds a mod.py that the test wrote there
                env=_environment(dsn, env or {}),
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the signal for a killed process; None while it runs."""
        return self._process.poll()

    @property
    def stdout(self) -> str:
        return self.stdout_file.read_text(errors="replace")

    @property
    def stderr(self) -> str:
        return self.stderr_file.read_text(errors="replace")

    @property
    def output(self) -> str:
        """What it wrote so far, to stdout and then to stderr."""
        return self.stdout + self.stderr

    def wait_for_output(self, pattern: str, *, timeout: float = TIMEOUT) -> re.Match[str]:
        """Wait until the output matches ``pattern`` somewhere; fail at once when the process ends before."""

        def found() -> re.Match[str] | None:
            ended = self.returncode is not None  # asked first: what it wrote before it ended is in the files
            match = re.search(pattern, self.output, re.MULTILINE)
            assert match or not ended, f"{self} ended before it wrote {pattern!r}:\n{self.output}"
            return match

        try:
            match = wait_until(found, timeout=timeout, message=f"{self} writes {pattern!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.output}") from None
        assert match is not None
        return match

    def wait(self, *, timeout: float = TIMEOUT) -> int:
        """Wait until it ends; return its exit code."""
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self} still runs after {timeout:g} s:\n{self.output}") from None

    def signal(self, number: signal.Signals, *, group: bool = False) -> None:
        """Send a signal to the process, or to its whole group as a terminal's Ctrl-C does."""
        if group:
            os.killpg(self.pid, number)
        else:
            self._process.send_signal(number)

    def stop(self, *, timeout: float = TIMEOUT) -> int:
        """Ask it to end with SIGTERM, wait, and return its exit code."""
        if self.returncode is None:
            self.signal(signal.SIGTERM)
        return self.wait(timeout=timeout)

    def kill(self) -> None:
        """SIGKILL the process and all that is left of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.kill()

    def __str__(self) -> str:
        return f"`{self.module} {' '.join(self.arguments)}` (pid {self.pid})"


class PgschedRunner:
    """What the fixture ``run_pgsched`` gives: call it with a command line, get a PgschedProcess."""

    def __init__(self, *, folder: Path, dsn: str) -> None:
        self.folder = folder
        self.dsn = dsn
        self._processes: list[PgschedProcess] = []

    def __call__(self, *arguments: str, dsn: str | None = None, env: Mapping[str, str] | None = None) -> PgschedProcess:
        process = PgschedProcess(
            arguments,
            folder=self.folder,
            name=f"pgsched-{len(self._processes) + 1}",
            dsn=self.dsn if dsn is None else dsn,
            env=env,
        )
        self._processes.append(process)
        return process

    def kill_all(self) -> None:
        for process in self._processes:
            process.kill()


def _environment(dsn: str | None, env: Mapping[str, str]) -> dict[str, str]:
    """Ours without any PGSCHED_ or libpq setting: a process sees only what its test gives it. It keeps bytecode."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHONDONTWRITE"))}
    search = os.pathsep.join(filter(None, [str(CHECKOUT), inherited.get("PYTHONPATH")]))
    settings = {"PYTHONPATH": search, "PYTHONUNBUFFERED": "1"}
    if dsn is not None:
        settings["PGSCHED_DSN"] = dsn
    return inherited | settings | dict(env)
