"""deploy/Dockerfile: what can be said of it without building the image."""

from __future__ import annotations

import fnmatch
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import PurePosixPath

import pytest

from pgsched.cli.web import NEEDED
from tests.deploy.parts import DEPLOY, check_settings, options_of, run, tool
from tests.support.processes import CHECKOUT, PgschedRunner

DOCKERFILE = DEPLOY / "Dockerfile"
PROJECT = tomllib.loads((CHECKOUT / "pyproject.toml").read_text())


def instructions() -> list[tuple[str, str]]:
    text = re.sub(r"^#.*\n", "", DOCKERFILE.read_text(), flags=re.MULTILINE).replace("\\\n", " ")
    return [(name, rest.strip()) for name, _, rest in (line.partition(" ") for line in text.splitlines() if line)]


def stage(number: int) -> list[tuple[str, str]]:
    starts = [place for place, (name, _) in enumerate(instructions()) if name == "FROM"] + [len(instructions())]
    return instructions()[starts[number] : starts[number + 1]]


def value(name: str) -> str:
    (found,) = [rest for word, rest in stage(-2) if word == name]
    return found


def test_hadolint_finds_nothing() -> None:
    run(tool("hadolint"), "--failure-threshold", "style", DOCKERFILE)


def test_hadolint_would_find_something() -> None:
    bad = subprocess.run([tool("hadolint"), "-"], input="FROM python\nRUN pip install x\n", text=True, check=False)
    assert bad.returncode == 1


def test_user_is_a_number_that_kubernetes_can_see_is_not_root() -> None:
    user, group = value("USER").split(":")
    assert int(user) > 0
    assert int(group) > 0


def test_only_the_environment_goes_into_the_image() -> None:
    assert [rest for name, rest in stage(-2) if name in ("COPY", "ADD", "RUN")] == ["--from=build /venv /venv"]


def test_the_base_image_is_a_python_that_pgsched_runs_on_in_both_stages() -> None:
    (default,) = [rest for name, rest in instructions() if name == "ARG"]
    assert default.startswith("PYTHON=3.")
    assert default.removeprefix("PYTHON=") in " ".join(PROJECT["project"]["classifiers"])
    assert [rest.split()[0] for name, rest in instructions() if name == "FROM"] == ["python:${PYTHON}-slim"] * 2


def test_extras_that_are_installed_exist_and_the_build_tool_is_the_locked_one() -> None:
    text = DOCKERFILE.read_text()
    (extras,) = re.findall(r"'pgsched\[(.+)\]'", text)
    assert set(extras.split(",")) == {"web", "top", "otel"} <= PROJECT["project"]["optional-dependencies"].keys()
    assert "embedded" not in extras
    assert f"install --no-index --find-links /wheels {PROJECT['build-system']['requires'][0]}\n" in text
    wheels = (CHECKOUT / "requirements" / "run.txt").read_text()
    for name in ("hatchling", *NEEDED, "rich", "opentelemetry-sdk"):
        assert re.search(rf"^{name}==", wheels, re.MULTILINE), (
            f"{name} is not in the lock, from which alone is installed"
        )


def test_all_that_is_copied_gets_past_the_ignore_file_and_secrets_do_not() -> None:
    lines = [
        line
        for line in (DEPLOY / "Dockerfile.dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]

    def gets_in(path: str) -> bool:
        inside = True
        for line in lines:  # the last one that matches decides
            pattern, keeps = line.removeprefix("!"), line.startswith("!")
            above = [path, *(str(parent) for parent in list(PurePosixPath(path).parents)[:-1])]
            if any(fnmatch.fnmatch(part, pattern.replace("**/", "*")) for part in above):
                inside = keeps
        return inside

    copied = [word for name, rest in stage(0) if name == "COPY" for word in rest.split()[:-1]]
    assert copied
    for word in copied:
        assert (CHECKOUT / word).exists()
        assert gets_in(word), f"{word} is ignored"
    assert gets_in("pgsched/web/server.py")
    assert gets_in("sql/queries/claim_tasks.sql")
    for secret in ("deploy/secrets/operator_token", ".git/config", ".pgsched/data", "pgsched/__pycache__/app.pyc"):
        assert not gets_in(secret), f"{secret} gets into the build"


def test_all_that_the_wheel_is_made_of_is_copied() -> None:
    wheel = PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]
    wanted = {*wheel["packages"], *wheel["force-include"], "README.md", "pyproject.toml"}
    wanted.add(PROJECT["tool"]["hatch"]["metadata"]["hooks"]["custom"]["path"])
    copied = {word for name, rest in stage(0) if name == "COPY" for word in rest.split()[:-1]}
    for name in wanted | set(PROJECT["project"]["license-files"]):
        assert copied & {name, *map(str, PurePosixPath(name).parents)}, f"{name} is not copied"


def test_environment_of_the_image_is_read_by_the_worker() -> None:
    settings = dict(re.findall(r"(\w+)=(\S+)", " ".join(rest for name, rest in stage(-2) if name == "ENV")))
    check_settings(["worker"], dict(settings))
    assert settings["PGSCHED_METRICS_PORT"] in value("EXPOSE").split()
    assert str(options_of("web")["PGSCHED_PORT"].default) in value("EXPOSE").split()


def healthcheck(port: str) -> int:
    command = json.loads(value("HEALTHCHECK").partition("CMD ")[2])
    assert command[0] == "python"
    environment = {**os.environ, "PGSCHED_METRICS_PORT": port}
    return subprocess.run(
        [sys.executable, *command[1:]], env=environment, capture_output=True, timeout=30, check=False
    ).returncode


def test_health_check_of_the_image_says_whether_a_worker_lives(run_pgsched: PgschedRunner) -> None:
    worker = run_pgsched("worker", "--app", "pgsched.demo:app", "--metrics-port", "0")
    port = worker.wait_for_output(r'"port": (\d+), "event": "metrics_served"')[1]
    worker.wait_for_output("worker_started")
    assert healthcheck(port) == 0
    assert worker.stop() == 0
    assert healthcheck(port) != 0


@pytest.mark.parametrize("name", ["ENTRYPOINT", "CMD"])
def test_commands_are_run_without_a_shell_that_would_keep_the_signals(name: str) -> None:
    assert json.loads(value(name)) in (["pgsched"], ["worker"])
