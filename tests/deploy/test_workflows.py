""".github: the workflows, checked by actionlint, by zizmor, by their schema, and against what they build."""

from __future__ import annotations

import os
import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgsched import __version__
from tests.deploy.parts import run, tool
from tests.support.processes import CHECKOUT

FOLDER = CHECKOUT / ".github"
WORKFLOWS = sorted((FOLDER / "workflows").glob("*.yml"))
MAKEFILE = (CHECKOUT / "Makefile").read_text()

each_workflow = pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.stem)


def read(path: Path) -> dict[str, Any]:
    # YAML 1.1 takes the key `on` for true.
    return {("on" if key is True else key): value for key, value in yaml.safe_load(path.read_text()).items()}


def workflow(name: str) -> dict[str, Any]:
    return read(FOLDER / "workflows" / f"{name}.yml")


def test_actionlint_finds_nothing() -> None:
    run(tool("actionlint"), "-shellcheck=", "-pyflakes=", *WORKFLOWS)


def test_actionlint_would_find_something(tmp_path: Path) -> None:
    bad = tmp_path / "bad.yml"
    bad.write_text("on: push\njobs:\n  x:\n    runs-on: ubuntu-latest\n    steps:\n      - run: echo ${{ matrix.x }}\n")
    assert subprocess.run([tool("actionlint"), bad], capture_output=True, check=False).returncode == 1


def test_zizmor_finds_no_way_to_abuse_them() -> None:
    run(tool("zizmor"), "--offline", "--quiet", FOLDER, env={**os.environ, "NO_COLOR": "1"})


def test_workflows_and_dependabot_are_as_their_schemas_want_them() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.github-workflows", *WORKFLOWS)
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.dependabot", FOLDER / "dependabot.yml")


@each_workflow
def test_a_workflow_may_only_read_unless_a_job_says_more(path: Path) -> None:
    assert read(path)["permissions"] == {"contents": "read"}
    for job in read(path)["jobs"].values():
        assert "timeout-minutes" in job
        for step in job["steps"]:
            if str(step.get("uses", "")).startswith("actions/checkout@"):
                assert step["with"]["persist-credentials"] is False


@each_workflow
def test_targets_that_are_made_exist(path: Path) -> None:
    targets = re.findall(r"\bmake ([a-z-]+)", "\n".join(map(str, commands(read(path)))))
    assert {target for target in targets if not re.search(rf"^{target}:", MAKEFILE, re.MULTILINE)} == set()


def commands(one: dict[str, Any]) -> list[str]:
    return [step["run"] for job in one["jobs"].values() for step in job["steps"] if "run" in step]


def test_every_python_of_the_classifiers_is_tested_and_no_other() -> None:
    classifiers = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = re.findall(r"Python :: (3\.\d+)$", "\n".join(classifiers), re.MULTILINE)
    assert workflow("ci")["jobs"]["test"]["strategy"]["matrix"]["python"] == named


def test_every_postgresql_is_tested() -> None:
    matrix = workflow("ci")["jobs"]["test"]["strategy"]["matrix"]
    tested = {*matrix["postgres"], *(one["postgres"] for one in matrix["include"])}
    assert tested == {"14", "15", "16", "17", "18"}


def test_only_a_tag_publishes_and_only_by_what_the_build_left() -> None:
    release = workflow("release")
    assert release["on"] == {"push": {"tags": ["v*"]}}
    pypi = release["jobs"]["pypi"]
    assert pypi["permissions"] == {"id-token": "write"}
    assert pypi["environment"]["name"] == "pypi"
    assert pypi["needs"] == "build"
    assert not any("checkout" in str(step.get("uses")) for step in pypi["steps"]), "it would build, or be built, anew"
    assert not any("password" in str(step) for step in pypi["steps"])


def test_image_has_an_inventory_and_its_origin() -> None:
    (push,) = [step for step in workflow("release")["jobs"]["image"]["steps"] if step.get("id") == "push"]
    assert push["with"]["sbom"] is True
    assert push["with"]["provenance"] == "mode=max"
    assert (CHECKOUT / push["with"]["file"]).is_file()


def test_release_takes_the_version_and_the_notes_from_where_they_are(tmp_path: Path) -> None:
    """The two programs of the workflow, on this checkout and on a changelog."""
    build = workflow("release")["jobs"]["build"]["steps"]
    (check,) = [step["run"] for step in build if step.get("id") == "version"]
    output = tmp_path / "output"
    environment = {**os.environ, "GITHUB_OUTPUT": str(output)}
    done = subprocess.run(
        ["bash", "-ec", check], cwd=CHECKOUT, env={**environment, "GITHUB_REF_NAME": f"v{__version__}"}, check=False
    )
    assert done.returncode == 0
    assert output.read_text() == f"version={__version__}\n"
    wrong = subprocess.run(
        ["bash", "-ec", check],
        cwd=CHECKOUT,
        env={**environment, "GITHUB_REF_NAME": "v99.0"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert wrong.returncode == 1
    assert f"the tag is v99.0, and the version in pgsched/__init__.py is {__version__}" in wrong.stderr

    (notes,) = [step["run"] for step in workflow("release")["jobs"]["github"]["steps"] if "run" in step]
    awk = next(line for line in notes.splitlines() if line.startswith("awk "))
    (tmp_path / "CHANGELOG.md").write_text(
        "# C\n\n## [1.10.0]\n\nnot\n\n## [1.1.0] - 2030-01-01\n\n### Added\n\n- x\n\n## [1.0.0]\n\nold\n"
    )
    subprocess.run(["bash", "-ec", awk], cwd=tmp_path, env={**os.environ, "VERSION": "1.1.0"}, check=True)
    assert (tmp_path / "notes.md").read_text() == "\n### Added\n\n- x\n\n"


def test_chart_of_a_release_names_the_image_of_that_release() -> None:
    (package,) = [step["run"] for step in workflow("release")["jobs"]["chart"]["steps"] if "run" in step]
    (pattern,) = re.findall(r"s\|(\^.*?)\|", package)
    (values,) = re.findall(r"repository: (?P<one>\S+)", (CHECKOUT / "deploy/helm/pgsched/values.yaml").read_text())
    assert values == "pgsched"
    assert re.search(pattern, (CHECKOUT / "deploy/helm/pgsched/values.yaml").read_text(), re.MULTILINE)
