"""The signals of a worker process, before a worker takes them and after."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import os, signal, sys, time
from pgsched.execution.signals import Signals

def leave(number, frame):
    raise SystemExit(7)

signal.signal(signal.SIGTERM, leave)
with Signals() as signals:
    if sys.argv[1] == "taken":
        signals.take(lambda: os._exit(9))
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(20)
"""


def exit_code(when: str) -> int:
    return subprocess.run([sys.executable, "-c", PROGRAM, when], timeout=60, check=False).returncode


def test_a_program_that_ends_itself_by_an_exception_is_not_kept_from_it_before_a_worker_runs() -> None:
    """Checked against a wrapper that logs the exception: the signal is lost, and the program goes on."""
    assert exit_code("before") == 7


def test_a_stop_signal_is_the_worker_s_once_it_runs() -> None:
    assert exit_code("taken") == 9
