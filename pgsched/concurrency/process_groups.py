"""Process groups: a command and all that it started, ended together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from time import monotonic, sleep


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to every process of the group that ``leader`` began; whether there was one."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
        return True
    return False


def end_group(leader: int, *, grace: float) -> None:
    """SIGTERM to what is left of a group, SIGKILL to what is left after ``grace`` seconds; returns when it is done."""
    deadline = monotonic() + grace
    alive = signal_group(leader, signal.SIGTERM)
    while alive and monotonic() < deadline:
        sleep(0.02)
        alive = is_group(leader)
    if alive:
        signal_group(leader, signal.SIGKILL)


def is_group(leader: int) -> bool:
    """Whether anything is left of the group; a process that nobody waits for counts until its end is taken note of."""
    return signal_group(leader, 0)


def how_it_ended(returncode: int) -> str:
    """``exit code 3``, or ``SIGKILL`` for a process that a signal ended."""
    if returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"
