"""Builds the site: stage, run Zensical strictly, write the Markdown copies, check the links."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final
from urllib.parse import urljoin

from tools.docs_site.links import faults, lines
from tools.docs_site.markdown_copies import write_markdown
from tools.docs_site.project import CHECKOUT, Project
from tools.docs_site.staging import stage

STAGE: Final = CHECKOUT / "build" / "docs-site"


class SiteError(Exception):
    """The site could not be built, or has faults."""


def build(site: Path, *, stage_in: Path = STAGE, version: str | None = None, revision: str | None = None) -> None:
    """Build the site into a folder, which is replaced. Raises SiteError with all faults.

    With a `version` the site is one of several under the site's address, and has a menu of them.
    """
    project = Project.read()
    config = stage(stage_in, project, revision=revision or project.branch, versioned=version is not None)
    url = project.site_url if version is None else urljoin(project.site_url, f"{version}/")
    _run_zensical(config, version)
    built = stage_in / "site"
    write_markdown(built, stage_in / "docs", project, url=url)
    found = list(lines(faults(built, url)))
    if found:
        raise SiteError("\n".join([*found, f"{len(found)} faults in the links of the site"]))
    shutil.rmtree(site, ignore_errors=True)
    shutil.copytree(built, site)


def zensical(*arguments: str) -> list[str]:
    """The command line of Zensical in this environment."""
    return [sys.executable, "-m", "zensical", *arguments]


def _run_zensical(config: Path, version: str | None) -> None:
    environment = os.environ | ({} if version is None else {"MIKE_DOCS_VERSION": f"{version}/"})
    done = subprocess.run(
        zensical("build", "--strict", "--clean", "--config-file", str(config)),
        cwd=CHECKOUT,  # where it finds the extension tools.docs_site.github_markdown
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    output = re.sub(r"\x1b\[[\d;]*m", "", done.stdout + done.stderr)  # without colours
    if done.returncode != 0 or "warning" in output.lower():
        raise SiteError(f"Zensical reports:\n{output.split('Traceback', 1)[0]}")
