"""``pgsched lock``: real commands, real signals."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pgsched.client.client import Client
from tests.support.commands import pgsched
from tests.support.processes import CHECKOUT, PgschedRunner
from tests.support.waiting import wait_until


@pytest.fixture
def client(dsn: str) -> Iterator[Client]:
    with Client(dsn) as client:
        yield client


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state not in ("Z", "X")


def test_list_shows_who_has_which_lock(client: Client, dsn: str) -> None:
    assert pgsched("lock", "list", dsn=dsn).stdout == "no locks\n"
    with client.lock("report") as held:
        (listed,) = pgsched("lock", "list", "--json", dsn=dsn).json()
        assert (listed["name"], listed["fencing_token"], listed["held"]) == ("report", held.fencing_token, True)
        assert listed["holder"].endswith(f":{os.getpid()}")
        shown = pgsched("lock", "list", dsn=dsn).stdout
        assert "report" in shown
        assert f":{os.getpid()}" in shown


def test_run_holds_the_lock_while_the_command_runs(run_pgsched: PgschedRunner, client: Client) -> None:
    command = "echo token $PGSCHED_LOCK_TOKEN of $PGSCHED_LOCK_NAME; read line < /dev/stdin; sleep 1000"
    running = run_pgsched("lock", "run", "report", "--", "sh", "-c", command)
    token = int(running.wait_for_output(r"token (\d+) of report")[1])
    assert [one.fencing_token for one in client.locks()] == [token]
    assert running.stop() == 128 + signal.SIGTERM
    assert client.locks() == []


@pytest.mark.parametrize(
    ("command", "code"), [(("true",), 0), (("sh", "-c", "exit 7"), 7), (("sh", "-c", "kill -KILL $$"), 137)]
)
def test_run_exits_as_its_command(run_pgsched: PgschedRunner, command: tuple[str, ...], code: int) -> None:
    assert run_pgsched("lock", "run", "report", "--ttl", "10", "--", *command).wait() == code


def test_options_of_the_command_are_its_own(run_pgsched: PgschedRunner) -> None:
    script = "import sys; print(sys.argv[1:])"
    done = run_pgsched("lock", "run", "report", "--", sys.executable, "-c", script, "--ttl", "nonsense", "--", "-x")
    assert (done.wait(), done.stdout) == (0, "['--ttl', 'nonsense', '--', '-x']\n")


def test_run_does_not_wait_for_a_lock_unless_told(run_pgsched: PgschedRunner, client: Client) -> None:
    with client.lock("report"):
        refused = run_pgsched("lock", "run", "report", "--", "echo", "inside")
        assert (refused.wait(), refused.stdout) == (1, "")
        assert refused.stderr == "pgsched: lock 'report' is not free\n"
        refused = run_pgsched("lock", "run", "report", "--wait", "0.3", "--", "echo", "inside")
        assert (refused.wait(), refused.stdout) == (1, "")
        assert refused.stderr == "pgsched: lock 'report' was not free within 0.3 s\n"


def test_run_waits_for_a_lock(run_pgsched: PgschedRunner, client: Client) -> None:
    with client.lock("report"):
        waiting = run_pgsched("lock", "run", "report", "--wait", "20", "--ttl", "5", "--", "echo", "inside")
    waiting.wait_for_output("inside")
    assert waiting.wait() == 0


def test_run_ends_the_command_and_all_it_started_when_the_lock_is_lost(
    run_pgsched: PgschedRunner, dsn: str, tmp_path: Path
) -> None:
    script = "trap '' TERM; (while :; do sleep 0.05; done) & echo pids $$ $!; while :; do sleep 0.05; done"
    running = run_pgsched("lock", "run", "report", "--ttl", "1.5", "--", "sh", "-c", script)
    pids = [int(pid) for pid in running.wait_for_output(r"pids (\d+) (\d+)").groups()]
    assert all(map(is_running, pids))
    assert pgsched("lock", "break", "report", "--yes", dsn=dsn).stdout == "lock report: broken\n"
    assert running.wait() == 1
    assert (
        "pgsched: lock 'report' was lost: another holder may have run at the same time as the command\n"
        in running.stderr
    )
    wait_until(lambda: not any(map(is_running, pids)), message="the group has ended")


def test_run_leaves_nothing_running_without_the_lock(run_pgsched: PgschedRunner, client: Client) -> None:
    running = run_pgsched("lock", "run", "report", "--", "sh", "-c", "sleep 1000 >/dev/null & echo pid $!")
    assert running.wait() == 0
    pid = int(running.stdout.split()[1])
    wait_until(lambda: not is_running(pid), message="what the command left behind has ended")
    assert client.locks() == []


def test_command_may_read_from_the_terminal(client: Client, dsn: str, tmp_path: Path) -> None:
    command = ["lock", "run", "report", "--", "sh", "-c", "echo ready; read line; echo got $line"]
    spawn = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) != 0)"
    terminal = subprocess.Popen(
        [sys.executable, "-c", spawn, sys.executable, "-m", "pgsched", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PGSCHED_DSN": dsn, "PYTHONPATH": str(CHECKOUT)},
        start_new_session=True,
    )
    try:
        assert terminal.stdin is not None
        terminal.stdin.write(b"hello\n")
        terminal.stdin.flush()
        out, _ = terminal.communicate(timeout=20)
    finally:
        terminal.kill()
        terminal.wait()
    assert b"got hello" in out
    assert terminal.returncode == 0
    assert client.locks() == []


def test_program_that_is_not_there_gives_the_lock_back(run_pgsched: PgschedRunner, client: Client) -> None:
    refused = run_pgsched("lock", "run", "report", "--", "/no/such/program")
    assert refused.wait() == 1
    assert refused.stderr == "pgsched: /no/such/program cannot be run: No such file or directory\n"
    assert client.locks() == []


def test_killed_run_leaves_the_lock_to_its_ttl(run_pgsched: PgschedRunner, client: Client) -> None:
    running = run_pgsched("lock", "run", "report", "--ttl", "2", "--", "sh", "-c", "echo group $$; exec sleep 1000")
    group = int(running.wait_for_output(r"group (\d+)")[1])
    os.kill(running.pid, signal.SIGKILL)
    running.wait()
    os.killpg(group, signal.SIGKILL)  # nobody else would end it
    assert client.lock("report").try_acquire() is None
    with client.lock("report", timeout=20):
        pass


def test_break_of_a_lock_that_nobody_has_is_refused(dsn: str) -> None:
    refused = pgsched("lock", "break", "report", dsn=dsn)
    assert (refused.code, refused.error) == (1, "lock 'report' is not held")


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("run", "", "--", "true"), 1, "lock name must have 1 to 200 characters, got 0"),
        (("run", "a", "--ttl", "0", "--", "true"), 2, "Invalid value for '--ttl'"),
        (("run", "a", "ls", "-l"), 2, "No such option"),
        (("run", "a", "--wait", "-1", "--", "true"), 2, "Invalid value for '--wait'"),
        (("run", "a"), 2, "Missing argument 'COMMAND...'"),
        (("break", "a\nb"), 1, "lock name must not contain control characters"),
    ],
)
def test_what_makes_no_sense_is_refused(dsn: str, arguments: tuple[str, ...], code: int, said: str) -> None:
    refused = pgsched("lock", *arguments, dsn=dsn)
    assert refused.code == code
    assert said in refused.error
