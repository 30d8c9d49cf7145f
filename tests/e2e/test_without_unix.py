"""Producers on a system without what only Unix has, as Windows."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.tables import database

TAKEN_AWAY = """
import os, signal, sys

MODULES = {"fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "curses", "readline"}


class Absent:
    def find_spec(self, name, path=None, target=None):
        if name in MODULES:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


for name in MODULES & sys.modules.keys():
    del sys.modules[name]
sys.meta_path.insert(0, Absent())
for module, names in {
    os: "register_at_fork fork forkpty getuid geteuid getgid getegid getpgid setpgid setsid killpg uname chown fchown"
    " fchmod wait3 wait4 waitid sched_getaffinity getloadavg nice sysconf mkfifo pread pwrite O_CLOEXEC O_NONBLOCK"
    " O_NOFOLLOW O_DIRECTORY",
    signal: "SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGCONT SIGSTOP SIGTSTP SIGPIPE SIGWINCH pthread_sigmask"
    " pthread_kill setitimer getitimer alarm pause sigwait siginterrupt SIG_BLOCK SIG_UNBLOCK SIG_SETMASK",
}.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
"""
PRODUCER = """
import asyncio

from pgsched import App, AsyncClient, Client, TaskSpec

dsn = sys.argv[1]
with Client(dsn) as client:
    client.schedule("client", {"n": 1}, delay=60)
    client.schedule_many([TaskSpec(task_type="many")])


async def main():
    async with AsyncClient(dsn) as client:
        await client.schedule("async")


asyncio.run(main())
app = App(dsn=dsn)
handle = app.task("handle")(lambda n: n)
handle.schedule(n=1)
app.close()
"""
COMMAND = """
from pgsched.cli import main

sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def without_unix(tmp_path: Path) -> Path:
    program = tmp_path / "program.py"
    program.write_text(TAKEN_AWAY)
    return program


def run(program: Path, source: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    program.write_text(program.read_text() + source)
    return subprocess.run(
        [sys.executable, str(program), *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def types(dsn: str) -> list[str]:
    with database(dsn) as db:
        return [row["task_type"] for row in db.execute("select task_type from pgsched.tasks order by id")]


def test_clients_and_apps_schedule(dsn: str, without_unix: Path) -> None:
    ended = run(without_unix, PRODUCER, dsn)
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "", "")
    assert types(dsn) == ["client", "many", "async", "handle"]


def test_the_command_line_schedules(dsn: str, without_unix: Path) -> None:
    ended = run(without_unix, COMMAND, "--dsn", dsn, "task", "add", "mail")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert types(dsn) == ["mail"]


def test_the_embedded_server_says_what_it_needs(tmp_path: Path, without_unix: Path) -> None:
    ended = run(without_unix, COMMAND, "--dsn", f"embedded:{tmp_path / 'data'}", "task", "list")
    needs = "pgsched: the embedded PostgreSQL needs fcntl, which this system does not have\n"
    assert (ended.returncode, ended.stderr) == (2, needs)
