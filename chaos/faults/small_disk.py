"""A small file system that a trial's PostgreSQL has its data and WAL on, and that can be filled and get room again."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path

from chaos.faults.own_server import FAST, OwnServer
from pgsched.domain.errors import DatabaseUnavailable

MIB = 1024 * 1024
FULL = "No space left on device"
"""The words of ENOSPC."""


@cache
def no_mounts() -> str | None:
    """Return why no file system can be mounted here; None when it can."""
    if os.geteuid() != 0:
        return "mounting a file system of its own needs root"
    with tempfile.TemporaryDirectory(prefix="pgsched-mount-") as folder:
        try:
            _run("mount", "-t", "tmpfs", "-o", "size=1M", "pgsched-chaos", folder)
        except (OSError, subprocess.CalledProcessError) as error:
            return f"mounting a file system is not possible: {error}"
        _run("umount", folder)
    return None


@cache
def no_loops() -> str | None:
    """Return why no ext4 that can be let err is to be had here; None when it is."""
    if (cause := no_mounts()) is not None:
        return cause
    if missing := [name for name in ("mkfs.ext4", "e2fsck", "findmnt") if shutil.which(name) is None]:
        return f"{', '.join(missing)} is not installed"
    with tempfile.TemporaryDirectory(prefix="pgsched-mount-") as folder:
        image = Path(folder) / "disk.img"
        try:
            _run("truncate", "-s", "8M", str(image))
            _run("mkfs.ext4", "-q", "-F", str(image))
            (Path(folder) / "there").mkdir()
            _run("mount", "-o", "loop", str(image), f"{folder}/there")
            device = Path(_output("findmnt", "-no", "SOURCE", f"{folder}/there")).name
            can_err = Path(f"/sys/fs/ext4/{device}/trigger_fs_error").exists()
            _run("umount", f"{folder}/there")
        except (OSError, subprocess.CalledProcessError) as error:
            return f"mounting an ext4 from a file is not possible: {error}"
    return None if can_err else "this kernel offers no /sys/fs/ext4/…/trigger_fs_error"


class SmallDisk:
    """A tmpfs under the data of a server: tables, WAL, temporary files and, where it collects them, its logs.

    The server's own folder, with ``server.log`` or a folder ``log``, stays outside, so that the server can tell of a
    full disk.
    """

    def __init__(self, server: OwnServer, *, mib: int) -> None:
        """Move the data of a running server to a file system of so many MiB, and start it there."""
        self._server = server
        self._mib = mib
        self.seen: list[str] = []
        """Lines of the server's log about a full disk, from all its starts."""
        _move_data(server, "mount", "-t", "tmpfs", "-o", f"size={mib}M", "pgsched-chaos")

    @property
    def free(self) -> int:
        """Bytes that are left."""
        found = os.statvfs(self._server.data)
        return found.f_bavail * found.f_frsize

    @property
    def ballast(self) -> Path:
        """A file that takes room."""
        return self._server.data / "ballast"

    def fill(self, *, leave: int = 0) -> None:
        """Let the ballast take all room but this many bytes."""
        with self.ballast.open("ab") as file, contextlib.suppress(OSError):  # somebody else was quicker
            size = max(0, self.free - leave)
            if size:
                os.posix_fallocate(file.fileno(), os.fstat(file.fileno()).st_size, size)

    def resize(self, mib: int | None = None) -> bool:
        """Make the file system larger, or as it was; returns whether what is on it fits."""
        size = f"remount,size={mib or self._mib}M"
        done = subprocess.run(["mount", "-o", size, str(self._server.data)], capture_output=True, check=False)
        return done.returncode == 0

    def make_room(self, mib: int | None = None) -> None:
        """Take the ballast away, or enlarge the file system, and start the server again if it has ended."""
        self.note()
        self.ballast.unlink(missing_ok=True)
        if mib is not None:
            self.resize(mib)
        deadline = time.monotonic() + 60
        while True:
            try:
                self._server.start()
                return
            except DatabaseUnavailable:  # it was on its way down
                if time.monotonic() > deadline:
                    raise

    def note(self) -> None:
        """Remember what the server says of a full disk: its log starts afresh with the server."""
        collected = self._server.folder / "log" / "server.log"
        said = self._server.said + (collected.read_text(errors="replace") if collected.exists() else "")
        known = set(self.seen)
        self.seen += [line for line in said.splitlines() if FULL in line and line not in known]

    def close(self) -> None:
        """Stop the server and take the file system down."""
        self.note()
        _take_down(self._server)


class ErringDisk:
    """An ext4 on a loop device under the data of a server, which the kernel makes read-only at an error of it."""

    def __init__(self, server: OwnServer, *, mib: int) -> None:
        self._server = server
        self._image = server.folder / "disk.img"
        _run("truncate", "-s", f"{mib}M", str(self._image))
        _run("mkfs.ext4", "-q", "-F", str(self._image))
        _move_data(server, *self._mount)
        self.device = _output("findmnt", "-no", "SOURCE", str(server.data))
        assert re.fullmatch(r"/dev/loop\d+", self.device), self.device

    @property
    def _mount(self) -> tuple[str, ...]:
        return ("mount", "-o", "loop,errors=remount-ro", str(self._image))

    def try_remount(self) -> str | None:
        """Remount it read-only, as an administrator would; returns what the kernel says, None if it did."""
        done = subprocess.run(
            ["mount", "-o", "remount,ro", str(self._server.data)], capture_output=True, text=True, check=False
        )
        return done.stderr.strip().splitlines()[0].rpartition(": ")[2] if done.returncode else None

    def err(self) -> None:
        """Let ext4 find an error of this one file system: by errors=remount-ro it is read-only from now on."""
        Path(f"/sys/fs/ext4/{Path(self.device).name}/trigger_fs_error").write_text("trial\n")

    @property
    def read_only(self) -> bool:
        """Whether it takes no writes."""
        try:
            (self._server.data / "probe").touch()
        except OSError as error:
            return error.errno == errno.EROFS
        return False

    def mend(self) -> None:
        """Check and mount it again, as an administrator would, and start the server; it must have ended."""
        _run("umount", str(self._server.data))
        code = subprocess.run(["e2fsck", "-p", "-f", str(self._image)], capture_output=True, check=False).returncode
        assert code in (0, 1), f"e2fsck ended with {code}"
        _run(*self._mount, str(self._server.data))
        self.device = _output("findmnt", "-no", "SOURCE", str(self._server.data))
        assert re.fullmatch(r"/dev/loop\d+", self.device), self.device
        self._server.start()

    def close(self) -> None:
        """Stop the server and take the file system down."""
        _take_down(self._server)


def _move_data(server: OwnServer, *mount: str) -> None:
    """Put the data of a running server on another file system, and start it there."""
    uid, gid = server.user
    server.end(FAST)
    data, before = server.data, server.folder / "data.before"
    data.rename(before)
    data.mkdir(mode=0o700)
    _run(*mount, str(data))
    os.chown(data, uid, gid)
    data.chmod(0o700)
    _run("cp", "-a", f"{before}/.", str(data))
    _run("sync", "-f", str(data))  # PostgreSQL only cares for what it writes itself
    _run("rm", "-rf", str(before))
    server.start()


def _take_down(server: OwnServer) -> None:
    if (server.data / "postmaster.pid").exists():
        with contextlib.suppress(OSError, ValueError, IndexError, AssertionError):
            server.end(FAST)
    if server.data.is_mount():
        subprocess.run(["umount", "-l", str(server.data)], capture_output=True, check=False)


def _output(*arguments: str) -> str:
    return subprocess.run(arguments, check=True, capture_output=True, text=True).stdout.strip()


def _run(*arguments: str) -> None:
    subprocess.run(arguments, check=True, capture_output=True)
