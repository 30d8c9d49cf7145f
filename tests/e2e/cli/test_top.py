"""`pgsched top` in a real terminal: a pseudo-terminal, with a program that understands what is written to it."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
import pyte
import pytest

from tests.support.commands import pgsched
from tests.support.processes import CHECKOUT
from tests.support.tables import add_worker, database, insert_task, set_dead, set_running

pytestmark = pytest.mark.slow


class Window:
    """A terminal of so many columns and lines, and the command in it."""

    def __init__(self, dsn: str, *arguments: str, columns: int = 100, lines: int = 30) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self.written = b""
        self._ours, self._theirs = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(self._theirs)
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "COLUMNS", "LINES"))}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pgsched", "top", "--interval", "0.2", *arguments],
            stdin=self._theirs,
            stdout=self._theirs,
            stderr=self._theirs,
            env=kept | {"PGSCHED_DSN": dsn, "TERM": "xterm-256color", "PYTHONPATH": str(CHECKOUT)},
            start_new_session=True,
        )

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._ours, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.screen.resize(lines, columns)

    def type(self, keys: str) -> None:
        os.write(self._ours, keys.encode())

    def read(self, seconds: float) -> None:
        """Take in what the command writes within so many seconds."""
        ready, _, _ = select.select([self._ours], [], [], seconds)
        if ready:
            with contextlib.suppress(OSError):  # the other side is closed
                data = os.read(self._ours, 65536)
                self.written += data
                self._stream.feed(data)

    @property
    def text(self) -> str:
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, condition: Callable[[str], Any], *, timeout: float = 15) -> str:
        until = time.monotonic() + timeout
        while not condition(self.text):
            assert time.monotonic() < until, f"not shown in time:\n{self.text}\n{self.written[-500:]!r}"
            assert self.process.poll() is None, self.text
            self.read(0.05)
        return self.text

    def end(self, *, timeout: float = 15) -> int:
        """Wait until the command has ended; the terminal must be as it was."""
        until = time.monotonic() + timeout
        while (code := self.process.poll()) is None:
            assert time.monotonic() < until, self.text
            self.read(0.05)
        self.read(0.05)
        assert termios.tcgetattr(self._theirs) == self.before, "the settings of the terminal are as before"
        assert self.written.rstrip().endswith(b"\x1b[?25h\x1b[?1049l"), self.written[-200:]
        return code

    def close(self) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self._ours)
        os.close(self._theirs)


@contextmanager
def window(dsn: str, *arguments: str, **size: int) -> Iterator[Window]:
    made = Window(dsn, *arguments, **size)
    try:
        yield made
    finally:
        made.close()


def fill(dsn: str) -> dict[str, int]:
    with database(dsn) as db:
        ids = {
            "waiting": insert_task(db, queue="mail"),
            "running": insert_task(db, "report", queue="reports"),
            "dead": insert_task(db, queue="mail"),
        }
        set_running(db, ids["running"])
        set_dead(db, ids["dead"])
        db.execute("update pgsched.tasks set progress = '{\"done\": 1, \"of\": 2}' where status = 'running'")
        add_worker(db, queues=["mail"], task_types=["mail"])
        db.execute("insert into pgsched.queues (name, paused) values ('slow', true)")
    return ids


def test_it_shows_what_happens_obeys_keys_and_gives_the_terminal_back(dsn: str) -> None:
    ids = fill(dsn)
    with window(dsn) as one:
        text = one.wait_for(lambda text: "Queues 3" in text and "Active 1" in text)
        assert "█████░░░░░  50%" in text
        assert "paused" in text
        assert "host" in text
        with database(dsn) as db:
            later = insert_task(db, "later", queue="another")
            set_running(db, later)
        text = one.wait_for(lambda text: "Active 2" in text)
        assert str(later) in text
        assert str(ids["running"]) in text

        one.type("?")
        one.wait_for(lambda text: "the next panel" in text)
        one.type("x")
        one.wait_for(lambda text: "the next panel" not in text)
        one.type("s")
        one.wait_for(lambda text: "by ready" in text)
        one.type("\t")
        one.type("s")
        one.wait_for(lambda text: "by load" in text)

        one.type("p")
        one.wait_for(lambda text: "PAUSED" in text)
        with database(dsn) as db:
            db.execute("delete from pgsched.tasks where id = %s", (ids["waiting"],))
            insert_task(db, queue="yet-another")
        one.type(" ")
        one.wait_for(lambda text: "PAUSED" not in text and "yet-another" in text)

        one.resize(70, 16)
        one.wait_for(lambda text: text.count("╯") == 3 and len(one.screen.display) == 16)
        one.type("q")
        assert one.end() == 0


def test_it_goes_on_when_the_database_is_gone_and_comes_back(dsn: str) -> None:
    fill(dsn)
    name = psycopg.conninfo.conninfo_to_dict(dsn)["dbname"]
    with psycopg.connect(dsn, dbname="postgres", autocommit=True) as admin, window(dsn) as one:
        one.wait_for(lambda text: "Queues 3" in text)
        admin.execute(f"alter database {name} with allow_connections false")
        admin.execute("select pg_terminate_backend(pid) from pg_stat_activity where datname = %s", (name,))
        one.wait_for(lambda text: "trying again" in text)
        assert "Queues 3" in one.text, "what was last seen stays"
        admin.execute(f"alter database {name} with allow_connections true")
        one.wait_for(lambda text: "trying again" not in text)
        one.type("\x03")
        assert one.end() == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_and_gives_the_terminal_back(dsn: str, number: signal.Signals) -> None:
    with window(dsn) as one:
        one.wait_for(lambda text: "Queues" in text)
        one.process.send_signal(number)
        assert one.end() == 128 + number


def test_once_prints_one_plain_picture(dsn: str) -> None:
    ids = fill(dsn)
    for arguments in (("top", "--once"), ("top",)):  # the second: stdout is no terminal
        ended = pgsched(*arguments, dsn=dsn, env={"COLUMNS": "110"})
        assert (ended.code, ended.stderr) == (0, "")
        assert "\x1b" not in ended.stdout
        assert "Queues 3" in ended.stdout
        assert str(ids["running"]) in ended.stdout
    said = json.loads(pgsched("top", "--json", dsn=dsn).stdout)
    assert [one["id"] for one in said["running"]] == [ids["running"]]
    assert {one["name"]: one["paused"] for one in said["queues"]} == {"mail": False, "reports": False, "slow": True}
    assert said["workers"][0]["hostname"] == "host"


def test_a_database_that_was_never_there_is_one_line(dsn: str) -> None:
    with database(dsn) as db:
        (row,) = db.execute("show unix_socket_directories").fetchall()
    ended = pgsched("top", dsn=f"postgresql:///nothing?host={row['unix_socket_directories']}&user=postgres")
    assert ended.code == 1
    assert ended.error.startswith("cannot connect to PostgreSQL")


def test_without_rich_it_says_which_extra_is_missing(dsn: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    ended = pgsched("top", "--once", dsn=dsn)
    assert (ended.code, ended.error) == (2, "pgsched top needs rich: pip install 'pgsched[top]'")
