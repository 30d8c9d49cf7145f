"""The releases from which there is a path to this version: their programs, kept as they were.

``tests/upgrades/releases/NAME.tar.xz`` holds ``pgsched`` and ``sql`` of a release, without the web face. The tests run
its commands and its workers beside those of the checkout. ``released_migrations.txt`` has the checksum of each
migration that was ever released: none of them may change.

At a release: ``python -m tools.freeze_release VERSION``, and a line in RELEASES.
"""

from __future__ import annotations

import hashlib
import os
import tarfile
from pathlib import Path
from typing import NamedTuple

from tests.support.processes import CHECKOUT

FOLDER = Path(__file__).with_name("releases")
CHECKSUMS = Path(__file__).with_name("released_migrations.txt")


class Release(NamedTuple):
    """A release, and the version of the schema that it was made for."""

    name: str
    schema: int

    @property
    def archive(self) -> Path:
        return FOLDER / f"{self.name}.tar.xz"

    def unpack(self, folder: Path) -> dict[str, str]:
        """Put its program into a folder; returns the environment in which Python runs that one."""
        with tarfile.open(self.archive) as archive:
            archive.extractall(folder, filter="data")
        # The tests' own modules (handlers, helpers) are the checkout's.
        return {"PYTHONPATH": os.pathsep.join([str(folder), str(CHECKOUT)])}


RELEASES = (Release("0.1-schema-12", 12),)
"""The oldest first. The first entry is the program as it was at the schema from which this begins."""


def checksum(migration: Path) -> str:
    """Of a migration's text."""
    return hashlib.sha256(migration.read_bytes()).hexdigest()


def released_checksums() -> dict[str, str]:
    """The checksum of each migration that was released, by the name of its file."""
    lines = CHECKSUMS.read_text().splitlines()
    return {name: digest for digest, name in (line.split() for line in lines if not line.startswith("#"))}
