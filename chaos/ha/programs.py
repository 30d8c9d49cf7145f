"""The programs of a cluster: where Debian puts them, as whom they run, and how their processes are found."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from pgsched.db.embedded.system_user import server_user

BINARIES = Path("/usr/lib/postgresql/15/bin")
PACKAGES = {"patroni": "patroni", "etcd": "etcd-server", "haproxy": "haproxy"}
"""Programs and the packages of Debian that bring them; PostgreSQL 15 comes with ``postgresql-15``."""
ADDRESS = "127.0.0.1"


def program(name: str) -> str | None:
    """The path of a program; None when it is not installed."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), "/usr/bin", "/usr/sbin"]))


def missing_programs(further: Mapping[str, str] | None = None) -> str | None:
    """Why there can be no cluster; None when there can. ``further``: more programs and their packages."""
    wanted = PACKAGES | dict(further or {})
    gone = [package for name, package in wanted.items() if program(name) is None]
    gone += ["postgresql-15"] * (not (BINARIES / "postgres").exists())
    return f"not installed (Debian: apt-get install {' '.join(gone)})" if gone else None


class Daemon:
    """One program that a trial starts, kills and starts again: in a session of its own, never as root."""

    def __init__(self, name: str, arguments: Sequence[str], *, folder: Path) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        self._arguments = list(arguments)
        self._folder = folder
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        """The pid of its first process."""
        assert self._process is not None
        return self._process.pid

    @property
    def running(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.poll() is None

    def start(self) -> None:
        """Start it."""
        path = program(self._arguments[0])
        assert path is not None, self._arguments[0]
        user = server_user(self._folder, BINARIES)
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                [path, *self._arguments[1:]],
                cwd=self._folder,
                env={"PATH": "/usr/bin:/usr/sbin:/bin", "HOME": str(self._folder), "LC_ALL": "C.UTF-8"},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                user=user.uid if user else None,
                group=user.gid if user else None,
                extra_groups=[] if user else None,
            )

    def tell(self, number: signal.Signals) -> None:
        """Send a signal to its first process."""
        if self.running:
            os.kill(self.pid, number)

    def end(self, number: signal.Signals = signal.SIGKILL, *, timeout: float = 30) -> None:
        """End it by a signal, and wait until it has ended."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)
            self._process.wait(timeout)
            self._process = None

    def end_tree(self) -> None:
        """SIGKILL it with all that it started."""
        if self._process is not None:
            signal_tree(self.pid, signal.SIGKILL)
            self.end()


def descendants(pid: int) -> Iterator[int]:
    """The processes that a process has started, and those that they have started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, ValueError):
            after = stat.read_text(errors="replace").rpartition(")")[2].split()
            children.setdefault(int(after[1]), []).append(int(stat.parent.name))
    todo = [pid]
    while todo:
        for child in children.get(todo.pop(), ()):
            yield child
            todo.append(child)


def signal_tree(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process and all that it started; children first appear only while their parent runs."""
    for one in (pid, *descendants(pid)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(one, number)


def wait_for_end(pid: int, *, timeout: float = 30) -> None:
    """Wait until a process that is not our child is gone."""
    deadline = time.monotonic() + timeout
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < deadline, f"process {pid} has not ended within {timeout:g} s"
        time.sleep(0.05)
