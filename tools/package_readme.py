"""The long description of the package: README.md, with links that work where the repository is not around it.

Hatchling calls this while it builds. Where ``[project.urls]`` names a ``Source``, relative links lead into that
repository at the tag of this version, and pictures are loaded from there. Where it names none, links are replaced by
their texts, and pictures are left out.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

_PICTURE = re.compile(r"^!\[([^\]]*)\]\((?!https?://)([^()\s]+)\)\n+", re.MULTILINE)
_LINK = re.compile(r"(?<!!)\[((?:[^\[\]]|\[[^\]]*\])*)\]\((?!https?://|mailto:|#)([^()\s]+)\)")
_VERSION = re.compile(r'^__version__ = "([^"]+)"$', re.MULTILINE)


class ReadmeHook(MetadataHookInterface):
    """Sets ``readme``, which pyproject.toml declares as dynamic."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Set the field of the project's metadata."""
        root = Path(self.root)
        (version,) = _VERSION.findall((root / "pgsched" / "__init__.py").read_text())
        source = metadata.get("urls", {}).get("Source")
        text = long_description((root / "README.md").read_text(encoding="utf-8"), source=source, version=version)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}


def long_description(readme: str, *, source: str | None, version: str) -> str:
    """Return the text for the package index."""
    if source is None:
        return _LINK.sub(r"\1", _PICTURE.sub("", readme))
    base = source.rstrip("/").removesuffix(".git")
    readme = _PICTURE.sub(rf"![\1]({base}/raw/v{version}/\2)\n\n", readme)
    return _LINK.sub(rf"[\1]({base}/blob/v{version}/\2)", readme)
