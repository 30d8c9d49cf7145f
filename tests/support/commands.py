"""The ``pgsched`` command within the test's own process: fast, for all that needs no process of its own."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from unittest import mock

import structlog

from pgsched.cli import main
from pgsched.observability import logs


@dataclass(frozen=True)
class Ended:
    """How a command ended."""

    code: int
    stdout: str
    stderr: str

    def json(self) -> Any:
        """What it printed, read as JSON; it must have ended well and said nothing else but that there is more."""
        lines = [line for line in self.stderr.splitlines() if not line.startswith("there may be more: --cursor ")]
        assert (self.code, lines) == (0, []), self
        return json.loads(self.stdout)

    @property
    def error(self) -> str:
        """The one line on stderr, without ``pgsched: ``; nothing else may have been printed."""
        assert self.stdout == "", self
        (line,) = self.stderr.splitlines()
        assert line.startswith("pgsched: "), line
        return line.removeprefix("pgsched: ")


class _Input(io.TextIOWrapper):
    """What a person typed into a terminal, or what came through a pipe."""

    def __init__(self, text: str, *, typed: bool) -> None:
        super().__init__(io.BytesIO(text.encode()), encoding="utf-8")
        self._typed = typed

    def isatty(self) -> bool:
        return self._typed


def pgsched(
    *arguments: object,
    dsn: str | None = None,
    stdin: str = "",
    typed: str | None = None,
    env: Mapping[str, str] | None = None,
) -> Ended:
    """Run ``pgsched ARGUMENTS`` on the database ``dsn``; a command sees no other setting of ours.

    ``stdin`` comes through a pipe; with ``typed`` there is a terminal, and somebody types that.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    given = {} if dsn is None else {"PGSCHED_DSN": dsn}
    out, err = io.StringIO(), io.StringIO()
    with (
        mock.patch.dict(os.environ, kept | given | dict(env or {}), clear=True),
        mock.patch.object(sys, "stdin", _Input(typed or stdin, typed=typed is not None)),
        contextlib.redirect_stdout(out),
        contextlib.redirect_stderr(err),
        _logging_as_before(),
    ):
        code = main([str(one) for one in arguments])
    return Ended(code, out.getvalue(), err.getvalue())


@contextlib.contextmanager
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    try:
        yield
    finally:
        logs.release()
        root.handlers, root.level = handlers, level
        structlog.reset_defaults()
