"""``pgsched worker`` as its users start it, for measurements from outside."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

END_SECONDS = 60.0


@contextmanager
def worker(
    dsn: str,
    *,
    app: str,
    queue: str = "default",
    concurrency: int = 100,
    processes: int = 1,
    environment: Mapping[str, str] | None = None,
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a worker until the block ends; it may not be ready when the block starts."""
    process = subprocess.Popen(  # noqa: S603
        [
            *(sys.executable, "-m", "pgsched", "--log-level", "warning", "worker", "--app", app, "--queue", queue),
            *("--concurrency", str(concurrency), "--processes", str(processes)),
        ],
        env={
            **{name: value for name, value in os.environ.items() if not name.startswith("PGSCHED_")},
            "PGSCHED_DSN": dsn,
            **(environment or {}),
        },
        start_new_session=True,  # a terminal's Ctrl-C goes to the measuring process, which then stops the worker
    )
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def peak_megabytes(pid: int) -> float | None:
    """Return the peak resident memory of a process; None where the kernel does not report it."""
    try:
        status = Path(f"/proc/{pid}/status").read_text(encoding="utf-8")
    except OSError:
        return None
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    return None if found is None else int(found[1]) * 1024 / 1e6
