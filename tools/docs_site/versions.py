"""Several versions of the site side by side, in the layout of mike, which the theme's version menu reads.

A folder of versions contains a folder for each, ``latest`` as a link to the newest, ``versions.json``, and an
``index.html`` and ``404.html`` that lead to the newest. The fork of mike that works with Zensical is not on any package
index.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Final

LATEST: Final = "latest"
_VERSION: Final = re.compile(r"\d+(\.\d+)+")
_TO_LATEST: Final = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>pgsched</title>
<meta http-equiv="refresh" content="0; url=latest/">
<a href="latest/">The documentation of the newest release</a>
"""


def add_version(versions: Path, site: Path, version: str) -> None:
    """Add a site that was built with a version to the others. Raises ValueError for an invalid version."""
    if not _VERSION.fullmatch(version):
        raise ValueError(f"version must be numbers with dots, such as 1.2, got {version!r}")
    versions.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(versions / version, ignore_errors=True)
    shutil.copytree(site, versions / version)
    known = sorted((one.name for one in versions.iterdir() if _VERSION.fullmatch(one.name)), key=_key, reverse=True)
    latest = versions / LATEST
    latest.unlink(missing_ok=True)
    latest.symlink_to(known[0])
    entries = [{"version": one, "title": one, "aliases": [LATEST] if one == known[0] else []} for one in known]
    (versions / "versions.json").write_text(json.dumps(entries, indent=2) + "\n", encoding="utf-8")
    (versions / "index.html").write_text(_TO_LATEST, encoding="utf-8")
    shutil.copy2(versions / known[0] / "404.html", versions)
    (versions / ".nojekyll").touch()


def _key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
