"""The built wheel, installed as users install it: by pip into an empty environment, by uvx, by pipx.

``make test-package`` runs it; it takes a few minutes, and needs a package index for the dependencies. They are
downloaded once into a folder, and every test installs from that folder alone.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from pgsched.db.embedded.programs import packaged_binaries
from tests.support.processes import CHECKOUT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

DEV = ("dev", "--demo", "--metrics-port", "0", "--web-port", "0")
SECONDS = 120
"""How long the first task may take, so that a hanging program ends; what it does take is printed."""


@pytest.fixture(scope="module")
def index() -> Iterator[Path]:
    """A folder with the wheel and all that `pgsched[dev]` depends on."""
    with tempfile.TemporaryDirectory(prefix="pgsched-index-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        call(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=CHECKOUT)
        (wheel,) = folder.glob("pgsched-*.whl")
        call(sys.executable, "-m", "pip", "download", "--quiet", "--dest", folder, f"{wheel}[dev]", cwd=folder)
        yield folder


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder to work in. Not pytest's own: the user who runs the server for root may not enter that."""
    with tempfile.TemporaryDirectory(prefix="pgsched-install-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


def call(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=environment(cwd) | dict(env or {}),
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=600,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


def environment(home: Path) -> dict[str, str]:
    """The environment of somebody who has no other Python packages, and no settings of pgsched."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("PG", "PYTHON", "UV_", "PIPX_"))}
    return kept | {
        "UV_CACHE_DIR": str(home / "uv"),
        "PIPX_HOME": str(home / "pipx"),
        "UV_PYTHON_DOWNLOADS": "never",
        "UV_NO_CONFIG": "1",
    }


def first_task(what: str, *command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """Run `pgsched dev --demo` until its first task is done, end it in order, and return what it printed."""
    began = time.monotonic()
    with (cwd / "out.txt").open("w") as file:
        process = subprocess.Popen(
            [str(part) for part in command],
            cwd=cwd,
            env=environment(cwd) | dict(env or {}),
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def printed() -> str:
        return (cwd / "out.txt").read_text()

    def is_done() -> bool:
        assert process.poll() is None or "first task done" in printed(), f"{what} ended:\n{printed()}"
        return "first task done" in printed()

    try:
        wait_until(is_done, timeout=SECONDS, message=f"the first task of {what} is done")
        print(f"\n{what}: the first task was done {time.monotonic() - began:.1f} s after the command was typed")
    finally:
        subprocess.run(["kill", "-TERM", "--", f"-{process.pid}"], check=False)
        process.wait(timeout=60)
    return printed()


def tool(name: str) -> Path:
    """A program beside the interpreter."""
    path = Path(sys.executable).with_name(name)
    if not path.exists():
        pytest.skip(f"{name} is not installed: make test-package installs it")
    return path


def installed(place: Path, index: Path, what: str) -> Path:
    """Make an empty environment, install ``what`` from the folder, and return the folder of its programs."""
    venv.create(place / "env", symlinks=True)
    pip = (sys.executable, "-m", "pip", "--python", place / "env" / "bin" / "python")
    call(*pip, "install", "--quiet", "--no-index", "--find-links", index, what, cwd=place)
    return place / "env" / "bin"


def test_pip_in_an_empty_environment_brings_a_first_task(index: Path, place: Path) -> None:
    programs = installed(place, index, "pgsched[dev]")
    text = first_task("pip install 'pgsched[dev]'", programs / "pgsched", *DEV, cwd=place)
    assert re.search(r"^dashboard: +http://127.0.0.1:\d+/", text, re.MULTILINE)


def test_bare_install_starts_a_postgresql_of_the_machine(index: Path, place: Path) -> None:
    programs = installed(place, index, "pgsched")
    path = f"{packaged_binaries()}:{os.environ['PATH']}"  # any installation; this one is there
    text = first_task("pip install pgsched", programs / "pgsched", *DEV, cwd=place, env={"PATH": path})
    assert "pip install 'pgsched[web]'" in text


def test_bare_install_has_every_command(index: Path, place: Path) -> None:
    programs = installed(place, index, "pgsched")
    commands = re.findall(r"^  (\w+)  ", call(programs / "pgsched", "--help", cwd=place), re.MULTILINE)
    assert len(commands) > 20
    for command in commands:
        assert "Usage: pgsched" in call(programs / "pgsched", command, "--help", cwd=place)
    call(programs / "python", "-c", "import pgsched; [getattr(pgsched, name) for name in pgsched.__all__]", cwd=place)


@pytest.mark.parametrize(
    ("what", "given"), [("uvx pgsched dev", ("pgsched",)), ("uvx 'pgsched[dev]' dev", ("pgsched[dev]",))]
)
def test_uvx(index: Path, place: Path, what: str, given: tuple[str, ...]) -> None:
    uvx = (tool("uvx"), "--no-index", "--find-links", index, "--python", sys.executable)
    path = f"{packaged_binaries()}:{os.environ['PATH']}"
    first_task(what, *uvx, *given, *DEV, cwd=place, env={"PATH": path} if what == "uvx pgsched dev" else None)


def test_pipx_run(index: Path, place: Path) -> None:
    pip = f"--no-index --find-links {index}"
    # Without maintenance: the pip that it would upgrade is not in the folder.
    command = (
        tool("pipx"),
        "run",
        "--skip-maintenance",
        "--backend",
        "pip",
        f"--pip-args={pip}",
        "--python",
        sys.executable,
    )
    first_task("pipx run 'pgsched[dev]' dev", *command, "--spec", "pgsched[dev]", "pgsched", *DEV, cwd=place)
