"""Copies of the checkout, changed."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.points.model import Change, replace_once
from benchmarks.run import ROOT

FOLDERS = ("pgsched", "sql", "tests", "benchmarks")


@dataclass
class Copies:
    """Makes one copy for each set of changes."""

    folder: Path
    _made: dict[tuple[Change, ...], Path] = field(default_factory=dict)

    def with_changes(self, changes: tuple[Change, ...]) -> Path:
        """Return the directory of the copy. Raise LookupError unless each text to change occurs exactly once."""
        if changes not in self._made:
            copy = self.folder / f"copy{len(self._made)}"
            for name in FOLDERS:
                shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "node_modules"))
            for change in changes:
                file = copy / change.file
                text = replace_once(file.read_text(encoding="utf-8"), change.old, change.new, change.file)
                file.write_text(text, encoding="utf-8")
            self._made[changes] = copy
        return self._made[changes]
