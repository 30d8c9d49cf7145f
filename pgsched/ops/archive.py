"""Archive files for deleted rows: compressed JSON lines, synced to disk before the rows are deleted."""

from __future__ import annotations

import gzip
import os
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path


class Archive:
    """The archive files of one run, in a folder that is created if missing. Only their owner may read the payloads."""

    def __init__(self, folder: Path) -> None:
        """Raises OSError when the folder is not writable."""
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._run = f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}Z"
        self.files: list[Path] = []

    def write(self, name: str, chunks: Iterable[bytes]) -> Callable[[], None]:
        """Append chunks to the file of this name and sync it; return a function that removes them again.

        Each call adds a member of its own to the compressed file, so earlier data is never modified. Raises OSError.
        """
        path = self._folder / f"{name}-{self._run}.jsonl.gz"
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as file:
            size = file.seek(0, os.SEEK_END)
            try:
                with gzip.GzipFile(filename="", fileobj=file, mode="wb", compresslevel=6) as packed:
                    for chunk in chunks:
                        packed.write(chunk)
                file.flush()
                os.fsync(file.fileno())
            except BaseException:
                file.truncate(size)
                raise
        if path not in self.files:
            _sync_folder(self._folder)
            self.files.append(path)

        def undo() -> None:
            os.truncate(path, size)

        return undo


def _sync_folder(folder: Path) -> None:
    """Sync the names of new files, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
