"""One fixture: a database, and workers on it, once for each language."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conformance.workers import CLIENT, LANGUAGES, Stage, stage


def _languages() -> list[object]:
    """Those of PGSCHED_CONFORMANCE (python,typescript), all when it is not set."""
    wanted = os.environ.get("PGSCHED_CONFORMANCE", ",".join(LANGUAGES)).split(",")
    return [language for language in LANGUAGES if language in wanted]


@pytest.fixture(params=_languages())
def workers(request: pytest.FixtureRequest, dsn: str, tmp_path: Path) -> Iterator[Stage]:
    """Start workers of one language: ``workers.start(lease=1)``."""
    if request.param == "typescript" and not (shutil.which("node") and (CLIENT / "dist" / "index.js").exists()):
        pytest.skip("the TypeScript worker is not built: clients/typescript/install.sh")
    with stage(dsn, tmp_path, request.param) as made:
        yield made
