"""One progress line: overwritten on a terminal, one line per step in a file."""

from __future__ import annotations

import sys
import time

WIDTH = 24


class Progress:
    """Counts steps and estimates the remaining time."""

    def __init__(self, steps: int) -> None:
        self._steps = steps
        self._done = 0
        self._began = time.monotonic()
        self._terminal = sys.stderr.isatty()

    def begin(self, what: str) -> None:
        """Show the current step."""
        if self._terminal:
            self._write(what)

    def end(self, what: str) -> None:
        """Count a step as done and print its result."""
        self._done += 1
        self._write(what)

    def note(self, what: str) -> None:
        """Print a line that is not overwritten."""
        print(f"\r\x1b[K{what}" if self._terminal else what, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Leave the line."""
        if self._terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _write(self, what: str) -> None:
        full = round(WIDTH * self._done / max(self._steps, 1))
        passed = time.monotonic() - self._began
        left = passed / self._done * (self._steps - self._done) if self._done else 0.0
        bar = f"[{'#' * full}{'.' * (WIDTH - full)}] {self._done}/{self._steps}"
        line = f"{bar} {_minutes(passed)}, ~{_minutes(left)} left  {what}"
        if self._terminal:
            print(f"\r\x1b[K{line[:150]}", end="", file=sys.stderr, flush=True)
        else:
            print(line, file=sys.stderr, flush=True)


def _minutes(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02}"
