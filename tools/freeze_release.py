"""Archives the program of a release for the tests of upgrades from it.

python -m tools.freeze_release VERSION            of this checkout
python -m tools.freeze_release VERSION FOLDER     of another one
"""

from __future__ import annotations

import sys
import tarfile
from pathlib import Path

from tests.support.processes import CHECKOUT
from tests.upgrades.releases import CHECKSUMS, FOLDER, checksum, released_checksums

LEFT_OUT = ("web", "__pycache__")
HEAD = "# sha256 of each migration that was released. Written by tools/freeze_release.py; no such file may change.\n"


def freeze(version: str, source: Path = CHECKOUT) -> Path:
    """Write the archive of a release, and the checksums of its migrations; return the archive."""

    def keep(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if any(part in LEFT_OUT for part in Path(member.name).parts):
            return None
        # Reproducible: the same files make the same archive, on any machine at any time.
        member.uid = member.gid = member.mtime = 0
        member.uname = member.gname = ""
        member.mode = 0o755 if member.isdir() else 0o644
        return member

    FOLDER.mkdir(exist_ok=True)
    path = FOLDER / f"{version}.tar.xz"
    with tarfile.open(path, "w:xz", preset=9) as archive:
        for name in ("pgsched", "sql"):
            archive.add(source / name, name, filter=keep)
    found = {one.name: checksum(one) for one in sorted((source / "sql" / "migrations").glob("*.sql"))}
    if CHECKSUMS.exists() and not released_checksums().items() <= found.items():
        raise SystemExit("a released migration has changed, or this is an older release than the last one")
    CHECKSUMS.write_text(HEAD + "".join(f"{digest}  {name}\n" for name, digest in found.items()))
    return path


if __name__ == "__main__":
    print(freeze(sys.argv[1], *map(Path, sys.argv[2:])))
