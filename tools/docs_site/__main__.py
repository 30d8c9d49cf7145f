"""``python -m tools.docs_site``: builds the site, serves it, or adds a version to a folder of versions."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from tools.docs_site.building import SiteError, build
from tools.docs_site.links import external_links
from tools.docs_site.project import CHECKOUT, Project
from tools.docs_site.serving import serve
from tools.docs_site.staging import BadLink
from tools.docs_site.versions import add_version

SITE = CHECKOUT / "site"


def main() -> int:
    """Run one command; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.docs_site", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    builds = commands.add_parser("build", help="build site/; warnings and broken links fail it")
    builds.add_argument("--external", action="store_true", help="list the external addresses that the pages link to")
    serves = commands.add_parser("serve", help="serve the site, and rebuild it when a page changes")
    serves.add_argument("--address", default="127.0.0.1:8000", help="host and port (default: %(default)s)")
    publishes = commands.add_parser("publish", help="build a version into a folder of versions")
    publishes.add_argument("folder", type=Path, help="as a checkout of the branch gh-pages")
    publishes.add_argument("--version", required=True, help="the version to build, such as 1.2")
    publishes.add_argument("--revision", help="the tag or branch for links to the repository (default: v1.2)")
    given = parser.parse_args()
    try:
        if given.command == "serve":
            return serve(given.address)
        if given.command == "publish":
            with TemporaryDirectory() as folder:
                site = Path(folder) / "site"
                build(site, version=given.version, revision=given.revision or f"v{given.version}")
                add_version(given.folder, site, given.version)
            print(f"{given.folder}: version {given.version} added")
            return 0
        build(SITE)
    except (SiteError, BadLink, ValueError, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    project = Project.read()
    print(f"{SITE.relative_to(CHECKOUT)}/: {len(project.pages)} pages, no warning, no broken link")
    if given.external:
        others = external_links(SITE, project.site_url)
        print("\n".join(sorted(link for link in others if not link.startswith(f"{project.repo_url}/edit/"))))
    return 0


sys.exit(main())
