"""The examples and the tables of README.md and docs/*.md: found, and run as a reader would run them.

A page is one story. Its blocks run in their order, on one fresh database and in one folder:

- ```python that begins with the comment ``# name.py`` is that file, ``# name.py, continued`` goes on with it; any
  other is a script.
- ```sql is run paragraph by paragraph. One with the comment ``-- ERROR: text`` must be refused with that text.
- ```sh is run by bash, ```console likewise without its prompts, and must print what stands there. A worker or web
  face that is started goes on until the page is over, and must then end in order.

``*Not run by the tests: reason.*`` above a block exempts it, and so does ``<!-- the same as path -->``, when
the file at that path in the checkout holds the block as it is: what is in the checkout has tests of its own.

Of programs that a machine may lack there are stand-ins: ``sendmail`` adds what it is given to ``mail.txt``.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from pgsched.db.embedded.server import packaged_binaries
from tests.support.doc_programs import put
from tests.support.processes import CHECKOUT, PgschedProcess, PgschedRunner

PAGES = (CHECKOUT / "README.md", *sorted((CHECKOUT / "docs").glob("*.md")))
RUN = ("python", "sql", "sh", "console")
SHOWN = ("text", "mermaid")
"""What is printed, and pictures: no examples. Every other block must be run, or exempt."""
SECONDS = 120
"""How long one block may take."""

_FENCE = re.compile(r"^```(\w*)$")
_NOT_RUN = re.compile(r"^(?:\*Not run by the tests: (.+)\.\*|<!-- not run: (.+) -->)$")
_SAME_AS = re.compile(r"^<!-- the same as (\S+) -->$")
_FILE = re.compile(r"\A# (\w+\.py)(, continued)?\n")
_ERROR = re.compile(r"-- ERROR: (.+)")


@dataclass(frozen=True, kw_only=True)
class Block:
    """A fenced block of a page."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None
    """Why it is exempt; None when it runs."""
    same_as: str | None = None
    """The file of the checkout that holds it too."""

    @property
    def runs(self) -> bool:
        """Whether a test of its page runs it."""
        return self.language in RUN and self.not_run is None and self.same_as is None

    def __str__(self) -> str:
        return f"{self.page.name}, line {self.line} ({self.language})"


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table of a page: its rows by the names of its columns, without backticks."""

    heading: str
    columns: tuple[str, ...]
    rows: list[dict[str, str]]


def blocks(page: Path) -> list[Block]:
    """Every fenced block of a page, in order."""
    found: list[Block] = []
    lines = page.read_text(encoding="utf-8").splitlines()
    start: int | None = None
    for number, line in enumerate(lines):
        fence = _FENCE.match(line)
        if start is None and fence:
            start = number
        elif start is not None and line == "```":
            above = lines[start - 1] or lines[start - 2]  # a line may be between
            exempt = _NOT_RUN.match(above)
            same = _SAME_AS.match(above)
            found.append(
                Block(
                    page=page,
                    line=start + 1,
                    language=lines[start].removeprefix("```"),
                    text="\n".join(lines[start + 1 : number]) + "\n",
                    not_run=exempt[1] or exempt[2] if exempt else None,
                    same_as=same[1] if same else None,
                )
            )
            start = None
    assert start is None, f"{page.name}: the block in line {start} has no end"
    return found


def tables(page: Path) -> list[Table]:
    """Every table of a page, with the heading it is under."""
    found: list[Table] = []
    heading, rows, fenced = "", [], False
    for line in [*page.read_text(encoding="utf-8").splitlines(), ""]:
        fenced ^= line.startswith("```")
        if not fenced and line.startswith("#"):
            heading = line.lstrip("#").strip()
        if not fenced and line.startswith("|"):
            cells = re.split(r"(?<!\\)\|", line.strip().strip("|"))
            rows.append([cell.strip().replace("\\|", "|") for cell in cells])
        elif rows:
            names, _, *values = rows
            plain = [dict(zip(names, [_plain(cell) for cell in row], strict=True)) for row in values]
            found.append(Table(heading=heading, columns=tuple(names), rows=plain))
            rows = []
    return found


def table(page: str, heading: str) -> Table:
    """The one table under a heading of ``docs/<page>.md``."""
    (found,) = [one for one in tables(CHECKOUT / "docs" / f"{page}.md") if one.heading == heading]
    return found


def _plain(cell: str) -> str:
    return cell.replace("`", "")


class Story:
    """Runs the blocks of one page, one after the other."""

    def __init__(self, *, folder: Path, dsn: str, run_pgsched: PgschedRunner, programs: Path) -> None:
        self._folder = folder
        self._dsn = dsn
        self._run_pgsched = run_pgsched
        self._workers: list[PgschedProcess] = []
        self._environment = _environment(folder, dsn, programs)

    def run(self, block: Block) -> None:
        """Run one block as its language is run."""
        getattr(self, f"_run_{block.language}")(block)

    def end(self) -> None:
        """Stop the workers and web faces that the page started."""
        for worker in self._workers:
            assert worker.stop() == 0, worker.output

    def _run_python(self, block: Block) -> None:
        named = _FILE.match(block.text)
        script = self._folder / (named[1] if named else f"example_{block.line}.py")
        text = block.text
        if named and named[2]:
            text = script.read_text() + block.text
        script.write_text(text)
        self._run(block, ["python", str(script)])

    def _run_sql(self, block: Block) -> None:
        with psycopg.connect(self._dsn, autocommit=True) as connection:
            for paragraph in block.text.split("\n\n"):
                expected = _ERROR.search(paragraph)
                refused = _refusal(connection, paragraph)
                if expected:
                    assert expected[1] in refused, f"{block} was not refused so:\n{paragraph}\n{refused}"
                else:
                    assert refused == "", f"{block} was refused:\n{paragraph}\n{refused}"

    def _run_sh(self, block: Block) -> None:
        started = shlex.split(block.text.replace("\\\n", " "), comments=True)
        if started[:2] == ["pgsched", "worker"] and started[2:3] != ["list"]:
            worker = self._run_pgsched(*started[1:], env={"PATH": self._environment["PATH"]})
            self._workers.append(worker)
            worker.wait_for_output("worker_started")
        elif started[:2] == ["pgsched", "web"]:
            web = self._run_pgsched(*started[1:])
            self._workers.append(web)
            web.wait_for_output("web_served")
        else:
            self._run(block, ["bash", "-euo", "pipefail", "-c", block.text])

    def _run_console(self, block: Block) -> None:
        typed = [line.removeprefix("$ ") for line in block.text.splitlines() if line.startswith("$ ")]
        shown = [line for line in block.text.splitlines() if not line.startswith("$ ")]
        printed = self._run(block, ["bash", "-euo", "pipefail", "-c", "\n".join(typed)])
        assert printed.splitlines() == shown, f"{block} does not print what the page shows"

    def _run(self, block: Block, command: Sequence[str]) -> str:
        done = subprocess.run(
            command,
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{block} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout


def _refusal(connection: psycopg.Connection[Any], statements: str) -> str:
    """What the database says against some statements; nothing when it takes them."""
    try:
        connection.execute(statements)  # type: ignore[call-overload]
    except psycopg.Error as error:
        return str(error)
    return ""


def _environment(folder: Path, dsn: str, programs: Path) -> Mapping[str, str]:
    """A reader's: `pgsched`, `python` and `psql` are found, the database is the page's, nothing else is set."""
    others = folder / ".bin"
    others.mkdir()
    if shutil.which("psql") is None:
        put(others / "psql", f'exec {shlex.quote(str(packaged_binaries() / "psql"))} "$@"')
    put(others / "sendmail", f"exec cat >> {shlex.quote(str(folder / 'mail.txt'))}")
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return kept | {
        "PATH": os.pathsep.join([str(programs), str(others), kept["PATH"]]),
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(folder)]),
        "PGSCHED_DSN": dsn,
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # those of our own tests take seconds to load
        "DJANGO_SETTINGS_MODULE": "settings",
    }
