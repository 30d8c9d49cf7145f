"""Process groups: a command and all processes that it started, ended together."""

from __future__ import annotations

import os
import signal
from contextlib import suppress
from time import monotonic, sleep


def signal_group(leader: int, number: int) -> bool:
    """Send a signal to every process of the group that ``leader`` started; return whether there was any."""
    with suppress(ProcessLookupError):
        os.killpg(leader, number)
        return True
    return False


def end_group(leader: int, *, grace: float) -> None:
    """Send SIGTERM to a group, and SIGKILL to what remains after ``grace`` seconds; return when the group is gone."""
    deadline = monotonic() + grace
    alive = signal_group(leader, signal.SIGTERM)
    while alive and monotonic() < deadline:
        sleep(0.02)
        alive = is_group(leader)
    if alive:
        signal_group(leader, signal.SIGKILL)


def is_group(leader: int) -> bool:
    """Return whether any process of the group remains; a zombie counts until it is reaped."""
    return signal_group(leader, 0)


def how_it_ended(returncode: int) -> str:
    """Return ``exit code 3``, or ``SIGKILL`` for a process that a signal ended."""
    if returncode >= 0:
        return f"exit code {returncode}"
    with suppress(ValueError):
        return signal.Signals(-returncode).name
    return f"signal {-returncode}"
