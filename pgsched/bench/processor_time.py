"""The processor time that other processes of this machine have used, as Linux reports it below ``/proc``."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from pgsched.db.embedded.processes import command_line

PROC = Path("/proc")
_PARENT, _USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM = 1, 11, 12, 13, 14
"""Fields of ``/proc/PID/stat``, counted from the state, which follows the name."""


def seconds_of(pids: Iterable[int]) -> float | None:
    """Return the processor time of these processes; None if one of them cannot be read."""
    found = [_stat(pid) for pid in pids]
    if not found or any(one is None for one in found):
        return None
    return sum(int(one[_USER]) + int(one[_SYSTEM]) for one in found if one) / _ticks()


def server_seconds(backend: int) -> float | None:
    """Return the processor time of a whole PostgreSQL server: of all its processes, living and ended.

    ``backend`` is the pid of one of its sessions. None if that is not a process of PostgreSQL here: the server is on
    another machine, in another container, or the machine does not report it.
    """
    if not command_line(backend).startswith("postgres:"):
        return None
    own = _stat(backend)
    if own is None:
        return None
    postmaster = int(own[_PARENT])
    while True:
        before = _stat(postmaster)
        living = _children_ticks(postmaster)
        after = _stat(postmaster)
        if before is None or after is None:
            return None
        # A session that ended meanwhile moved from the living to the ended, and may be in neither.
        if (before[_ENDED_USER], before[_ENDED_SYSTEM]) == (after[_ENDED_USER], after[_ENDED_SYSTEM]):
            ticks = living + sum(int(after[field]) for field in (_USER, _SYSTEM, _ENDED_USER, _ENDED_SYSTEM))
            return ticks / _ticks()


def _children_ticks(parent: int) -> int:
    found = [_stat(int(entry.name)) for entry in PROC.iterdir() if entry.name.isdecimal()]
    return sum(int(one[_USER]) + int(one[_SYSTEM]) for one in found if one is not None and int(one[_PARENT]) == parent)


def cores() -> int:
    """Return the number of processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _ticks() -> int:
    return os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str] | None:
    try:
        text = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return None
    return text.rpartition(")")[2].split()
