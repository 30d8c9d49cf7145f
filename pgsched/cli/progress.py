"""A line on stderr that shows the progress of a command that changes many tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self, TextIO

import click

TERMINAL_SECONDS = 0.1
OTHER_SECONDS = 5.0
"""Time between updates of the line on a terminal, and between lines on anything else."""


class ProgressLine:
    """Shows how many tasks have been changed; after an interruption, says that these stay changed."""

    def __init__(
        self,
        done_words: str,
        *,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``done_words``: what was done, as "dead tasks retried"; ``total``: how many there are, if that is known."""
        self._words = done_words
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._updated_at = clock()
        self._shown = 0
        """Length of the line that is shown now."""
        self.done = 0

    def __call__(self, done: int) -> None:
        """Show the number of tasks that have been changed, if the last update was long enough ago."""
        self.done = done
        now = self._clock()
        if now - self._updated_at < (TERMINAL_SECONDS if self._is_terminal else OTHER_SECONDS):
            return
        self._updated_at = now
        text = self._text()
        if self._is_terminal:
            self._stream.write("\r" + text.ljust(self._shown))
            self._stream.flush()
            self._shown = len(text)
        else:
            click.echo(text, file=self._stream)

    def _text(self) -> str:
        of = "" if self._total is None else f" of {self._total:,}"
        return f"{self.done:,}{of} {self._words}"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _trace: TracebackType | None) -> None:
        if self._shown:
            self._stream.write("\r" + " " * self._shown + "\r")
            self._stream.flush()
        if kind is not None and self.done:
            click.echo(f"pgsched: interrupted: {self._text()}; run the command again to continue", file=self._stream)
