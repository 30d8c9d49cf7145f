"""Other processes of this machine, by their pids."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

PROC = Path("/proc")


def exists(pid: int) -> bool:
    """Whether there is a process with this pid, be it one that has ended and that nobody has waited for."""
    if pid <= 0:  # kill would take it for a group, or for everybody
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OverflowError:  # greater than any pid
        return False
    except PermissionError:  # somebody else's
        return True
    return True


def command_line(pid: int) -> str:
    """Return the command line of a running process, its words parted by spaces; empty for one that has ended."""
    if pid <= 0:
        return ""
    if (PROC / "self" / "cmdline").exists():
        try:
            return (
                (PROC / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="surrogateescape").strip()
            )
        except OSError:
            return ""
    done = subprocess.run(  # noqa: S603  (macOS and the BSDs)
        ["ps", "-ww", "-o", "args=", "-p", str(pid)],  # noqa: S607
        capture_output=True,
        text=True,
        errors="surrogateescape",
        check=False,
    )
    return done.stdout.strip()
