"""One line on stderr that says how far a command has come that changes many tasks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import monotonic
from types import TracebackType
from typing import Self, TextIO

import click

TERMINAL_SECONDS = 0.1
OTHER_SECONDS = 5.0
"""How often the line is written anew, and where stderr is no terminal another one is."""


class ProgressLine:
    """Tells how many tasks were changed so far, and at an interruption that these stay changed."""

    def __init__(
        self,
        done_words: str,
        *,
        total: int | None = None,
        stream: TextIO | None = None,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        """``done_words``: what was done, as "dead tasks retried"; ``total``: of how many, where that is known."""
        self._words = done_words
        self._total = total
        self._stream = stream or sys.stderr
        self._clock = clock
        self._is_terminal = self._stream.isatty()
        self._told_at = clock()
        self._shown = 0
        """Characters of the line that stands there."""
        self.done = 0

    def __call__(self, done: int) -> None:
        """Take the number of tasks that are changed."""
        self.done = done
        now = self._clock()
        if now - self._told_at < (TERMINAL_SECONDS if self._is_terminal else OTHER_SECONDS):
            return
        self._told_at = now
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
            click.echo(
                f"pgsched: interrupted: {self._text()}, and they stay so; run it again to go on", file=self._stream
            )
