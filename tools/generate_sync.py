"""Generates the synchronous half of modules for event loops and for threads: ``python -m tools.generate_sync``.

Developers write ``async_NAME.py``; NAME.py beside it is generated, by these rules:

- ``async`` and ``await`` are removed, and so are the async parts of names: ``AsyncClient``, ``fetch_async``,
  ``__aenter__``.
- A statement whose first line ends with the comment ``# async only`` is left out.
- PHRASES replace English phrases in docstrings, comments and messages; docstrings are rewrapped.
- Code that must differ has a module for each half, with the same names: ``pgsched/concurrency/primitives.py``.

If the result still mentions event loops, that is an error: reword the source, or add a rule.
"""

from __future__ import annotations

import argparse
import ast
import re
import subprocess
import sys
import textwrap
from pathlib import Path

CHECKOUT = Path(__file__).parents[1]
WIDTH = 120
SOURCES = (
    "pgsched/client/async_bulk.py",
    "pgsched/client/async_client.py",
    "pgsched/client/async_counted.py",
    "pgsched/client/async_databases.py",
    "pgsched/client/async_durable.py",
    "pgsched/client/async_locks.py",
    "pgsched/client/async_queues.py",
    "pgsched/client/async_workers.py",
    "pgsched/client/async_reasons.py",
    "pgsched/client/async_schedules.py",
    "pgsched/client/async_shards.py",
    "pgsched/client/async_tasks.py",
    "pgsched/client/async_views.py",
    "pgsched/db/async_database.py",
    "pgsched/db/async_enlist.py",
    "pgsched/db/async_query_runner.py",
)

PHRASES = (
    ("event loops", "threads"),
    ("an ``async with``", "a ``with``"),
    ("its methods are to be awaited", "one may be shared by all of them"),
    ("by an asyncio task: code that blocks the event loop loses it", "by a thread"),
    ("while the event loop runs", "while this process lives"),
    ("asyncpg's", "Django's"),
)
"""Phrases and their replacements. A phrase may be broken across the lines of a docstring."""

NAMES = (
    (r"\basync (?=def\b|with\b|for\b)|\bawait ", ""),
    (r"\b([Aa])n (?=Async[B-DF-HJ-NP-TV-Z])", r"\1 "),
    (r"\b(_*)Async(?=[A-Z])", r"\1"),
    (r"(?<=[a-z])Async\b", ""),
    (r"\basync_(?=[a-z])", ""),
    (r"(?<=[a-z])_async\b", ""),
    (r"\bAwaitable, ", ""),
    (r"\bAwaitable\[(\w+)\]", r"\1"),
    (r"\basynccontextmanager\b", "contextmanager"),
    (r"\b__a(enter|exit)__\b", r"__\1__"),
)
"""Patterns of words in code and in text, and their replacements."""

LEFT_OVER = re.compile(r"async|await|event loop|coroutine", re.IGNORECASE)


class NotSynchronous(Exception):
    """A line of the generated half still mentions event loops."""


def target_of(source: str) -> str:
    """The path of the generated half."""
    folder, _, name = source.rpartition("/async_")
    return f"{folder}/{name}"


def generate(source: str) -> str:
    """Return the current text of a source's generated half."""
    text = to_sync((CHECKOUT / source).read_text(encoding="utf-8"))
    name = Path(source).name
    return _tidy(f"# Generated from {name} by `make sync`: change that file instead.\n{text}", target_of(source))


def to_sync(text: str) -> str:
    """Convert the text of an asynchronous module to the synchronous one. Raises NotSynchronous."""
    text = _without_async_only(text)
    for phrase, instead in PHRASES:
        text = re.sub(r"\s+".join(map(re.escape, phrase.split())), instead, text)
    for pattern, instead in NAMES:
        text = re.sub(pattern, instead, text)
    for number, line in enumerate(text.splitlines(), start=1):
        if LEFT_OVER.search(line):
            raise NotSynchronous(f"line {number} is not synchronous: {line.strip()}")
    return _wrapped(text)


def _without_async_only(text: str) -> str:
    lines = text.splitlines(keepends=True)
    statements = (node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.stmt))
    for statement in sorted(statements, key=lambda one: one.lineno, reverse=True):
        if lines[statement.lineno - 1].endswith("# async only\n"):
            lines[statement.lineno - 1 : statement.end_lineno] = []
    return "".join(lines)


def _wrapped(text: str) -> str:
    """Rewrap the paragraphs of docstrings to the line width."""
    lines = text.splitlines()
    for node in sorted(_docstrings(text), key=lambda one: one.lineno, reverse=True):
        assert node.end_lineno is not None
        docstring = lines[node.lineno - 1 : node.end_lineno]
        indent = " " * node.col_offset
        ending = [docstring.pop()] if docstring[-1].strip() == '"""' else []
        paragraphs = [
            textwrap.fill(
                " ".join(paragraph.split()),
                WIDTH,
                initial_indent=indent,
                subsequent_indent=indent,
                break_long_words=False,
                break_on_hyphens=False,
            )
            for paragraph in re.split(r"\n\s*\n", "\n".join(docstring))
        ]
        lines[node.lineno - 1 : node.end_lineno] = ["\n\n".join(paragraphs), *ending]
    return "\n".join(lines) + "\n"


def _docstrings(text: str) -> list[ast.Expr]:
    return [
        node
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
    ]


def _tidy(text: str, path: str) -> str:
    """Sort the imports, remove unused ones, and format."""
    for command in (["check", "--fix-only", "--quiet"], ["format", "--quiet"]):
        ruff = [sys.executable, "-m", "ruff", *command, "--stdin-filename", path, "-"]
        text = subprocess.run(ruff, cwd=CHECKOUT, input=text, capture_output=True, text=True, check=True).stdout
    return text


def main() -> int:
    """Write the generated halves, or with --check only report which are not current."""
    options = argparse.ArgumentParser(prog="python -m tools.generate_sync", description=__doc__.splitlines()[0])
    options.add_argument("--check", action="store_true", help="write nothing; fail if a file is not current")
    check = options.parse_args().check
    stale = 0
    for source in SOURCES:
        place, wanted = CHECKOUT / target_of(source), generate(source)
        if place.is_file() and place.read_text(encoding="utf-8") == wanted:
            continue
        stale += 1
        print(f"{target_of(source)} {'is not current' if check else 'written'}")
        if not check:
            place.write_text(wanted, encoding="utf-8")
    return int(check and stale > 0)


if __name__ == "__main__":
    sys.exit(main())
