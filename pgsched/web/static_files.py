"""The files of the dashboard, below a path that names their content: browsers cache them for ever without revalidation.

All of them share one name, since scripts import one another by relative paths.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from pathlib import Path
from typing import Final

from starlette.responses import Response
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

FOLDER: Final = Path(__file__).parent / "static"
DIGITS: Final = 12
IMMUTABLE: Final = "public, max-age=31536000, immutable"
_NAMED: Final = re.compile(rf"([0-9a-f]{{{DIGITS}}})/(.+)", re.DOTALL)


@cache
def content_name() -> str:
    """Return the digest of all files, which changes with any of them."""
    digest = hashlib.sha256()
    for file in sorted(FOLDER.rglob("*")):
        if file.is_file():
            content = file.read_bytes()
            digest.update(f"{file.relative_to(FOLDER).as_posix()}\0{len(content)}\0".encode())
            digest.update(content)
    return digest.hexdigest()[:DIGITS]


class NamedFiles(StaticFiles):
    """Serves a file as ``NAME/file`` too. A page of another version gets the current file, but may not cache it."""

    def __init__(self) -> None:
        super().__init__(directory=FOLDER)

    async def get_response(self, path: str, scope: Scope) -> Response:
        """One request."""
        named = _NAMED.fullmatch(path.replace("\\", "/"))
        response = await super().get_response(named[2] if named else path, scope)
        is_current = named is not None and named[1] == content_name()
        response.headers["Cache-Control"] = IMMUTABLE if is_current else "no-cache"
        return response
