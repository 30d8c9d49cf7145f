"""Serves the site during editing: stages a page again when it changes; Zensical rebuilds and reloads it."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Final

from tools.docs_site.building import STAGE, zensical
from tools.docs_site.project import CHECKOUT, DOCS, Project
from tools.docs_site.staging import BadLink, restage, stage

POLL_SECONDS: Final = 0.5


def serve(address: str) -> int:
    """Serve until Ctrl-C; return the exit code of Zensical. New pages and settings require a restart."""
    project = Project.read()
    config = stage(STAGE, project, revision=project.branch)
    seen = _times()
    with subprocess.Popen(
        zensical("serve", "--config-file", str(config), "--dev-addr", address), cwd=CHECKOUT
    ) as server:
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        try:
            while server.poll() is None:
                time.sleep(POLL_SECONDS)
                now = _times()
                for page in [page for page, changed in now.items() if seen.get(page) != changed]:
                    try:
                        restage(page, STAGE, project, revision=project.branch)
                    except BadLink as error:
                        print(error, file=sys.stderr)
                seen = now
        except KeyboardInterrupt:
            return 0
        finally:
            server.terminate()
        return server.wait()


def _times() -> dict[Path, int]:
    return {page: page.stat().st_mtime_ns for page in DOCS.iterdir() if page.is_file()}
