"""deploy/compose.yaml: by the schema of compose files, and what it refers to."""

from __future__ import annotations

import json
import re
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from psycopg.conninfo import conninfo_to_dict

from pgsched.cli.web import web
from tests.deploy.parts import DEPLOY, LEAVE_SECONDS, check_settings, program, run, tool
from tests.support.commands import pgsched
from tests.support.processes import PgschedRunner

FILE = DEPLOY / "compose.yaml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"].startswith("pgsched")}


def test_file_is_as_the_schema_of_compose_files_wants_it() -> None:
    run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", FILE)


def test_schema_would_find_a_mistake(tmp_path: Path) -> None:
    broken = tmp_path / "compose.yaml"
    broken.write_text(FILE.read_text().replace("depends_on:", "depend_on:"))
    with pytest.raises(AssertionError, match="depend_on"):
        run(tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", broken)


def test_services_are_those_that_it_takes() -> None:
    assert set(SERVICES) == {"postgres", "migrate", "worker", "web", "prometheus", "grafana"}
    assert SERVICES["worker"]["deploy"]["replicas"] == "${PGSCHED_WORKERS:-3}"


def test_everything_that_is_referred_to_is_there() -> None:
    declared = COMPOSE["volumes"].keys()
    for name, service in SERVICES.items():
        assert set(service.get("depends_on", ())) <= SERVICES.keys()
        assert set(service.get("secrets", ())) <= COMPOSE["secrets"].keys()
        for volume in service.get("volumes", ()):
            source = re.sub(r"\$\{\w+:-(.+)\}", r"\1", volume).split(":")[0]
            assert source in declared or (DEPLOY / source).exists(), f"{name} mounts {source}, which is not there"
        if "build" in service:
            context = DEPLOY / service["build"]["context"]
            assert (context / service["build"]["dockerfile"]).exists()
    used = {name for service in SERVICES.values() for name in service.get("secrets", ())}
    assert used == COMPOSE["secrets"].keys()


def test_whoever_is_waited_for_can_be_waited_for() -> None:
    for service in SERVICES.values():
        waits = service.get("depends_on", {})
        for other, how in waits.items() if isinstance(waits, dict) else ():
            if how["condition"] == "service_healthy":
                assert "test" in SERVICES[other]["healthcheck"]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no", f"{other} never ends"


def test_nothing_listens_but_on_the_loopback_address() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(published) == 3
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_workers_get_longer_to_end_than_they_take() -> None:
    worker = SERVICES["worker"]
    timeout = float(worker["environment"]["PGSCHED_SHUTDOWN_TIMEOUT"])
    assert int(worker["stop_grace_period"].removesuffix("s")) >= timeout + LEAVE_SECONDS
    web_grace = 5
    assert int(SERVICES["web"]["stop_grace_period"].removesuffix("s")) > web_grace


@pytest.mark.parametrize("name", OURS)
def test_variables_are_options_of_the_command(name: str) -> None:
    given = dict(OURS[name]["environment"])
    given = {key: re.sub(r"\$\{\w+:-(.+)\}", r"\1", str(found)) for key, found in given.items()}
    check_settings(OURS[name]["command"], given)


@pytest.mark.parametrize("name", OURS)
def test_our_containers_can_do_little(name: str) -> None:
    service = OURS[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]


# Secrets.


def make_secrets(folder: Path) -> str:
    return run("sh", DEPLOY / "make-secrets.sh", folder)


def test_secrets_are_made_by_chance_once_and_shown_to_nobody(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    said = make_secrets(first)
    before = {path.name: path.read_text() for path in first.iterdir()}
    make_secrets(first)
    assert {path.name: path.read_text() for path in first.iterdir()} == before
    make_secrets(second)
    assert all((second / name).read_text() != text for name, text in before.items())
    assert stat.S_IMODE(first.stat().st_mode) == 0o700
    assert all(stat.S_IMODE(path.stat().st_mode) == 0o644 for path in first.iterdir())
    values = [text for name, text in before.items() if "." not in name]
    assert all(len(text) == 48 for text in values)
    assert not any(text in said for text in values)
    wanted = {Path(secret["file"]).name for secret in COMPOSE["secrets"].values()}
    wanted |= {Path(entry["path"]).name for entry in SERVICES["web"]["env_file"]}
    assert wanted <= before.keys()


def test_no_secret_is_in_the_files() -> None:
    assert (DEPLOY / "secrets" / ".gitignore").read_text().split() == ["*", "!.gitignore"]
    for name, service in SERVICES.items():
        for key, found in service.get("environment", {}).items():
            secret = re.search("PASSWORD|TOKEN|SECRET", key)
            assert not secret or key.endswith("_FILE"), f"{name} has {key} in clear"
            assert "://" not in str(found) or "@" not in str(found)


def test_tokens_are_read_by_the_web_face(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    lines = (tmp_path / "web.env").read_text().splitlines()
    check_settings(["web"], dict(line.split("=", 1) for line in lines))
    assert {line.split("=")[0] for line in lines} == {
        str(parameter.envvar) for parameter in web.params if str(parameter.envvar).endswith("_TOKEN")
    }
    assert (tmp_path / "metrics_token").read_text() == lines[-1].split("=")[1]


def test_service_file_names_the_server_of_the_composition_and_its_password(tmp_path: Path) -> None:
    make_secrets(tmp_path)
    given = dict(line.split("=", 1) for line in (tmp_path / "pg_service.conf").read_text().splitlines()[1:])
    postgres = SERVICES["postgres"]["environment"]
    assert given["host"] in SERVICES
    assert (given["user"], given["dbname"]) == (postgres["POSTGRES_USER"], postgres["POSTGRES_DB"])
    assert given["password"] == (tmp_path / "postgres_password").read_text()


def test_a_service_file_that_all_may_read_leads_to_the_database(empty_dsn: str, tmp_path: Path) -> None:
    make_secrets(tmp_path)
    path = tmp_path / "pg_service.conf"
    there = {key: str(found) for key, found in conninfo_to_dict(empty_dsn).items()}
    path.write_text("[pgsched]\n" + "".join(f"{key}={found}\n" for key, found in there.items()))
    path.chmod(0o644)
    environment = OURS["migrate"]["environment"] | {"PGSERVICEFILE": str(path)}
    assert pgsched("migrate", env=environment).code == 0
    assert pgsched("stats", env=environment).code == 0


# Health checks and Prometheus.


def test_health_check_of_the_web_face_says_whether_it_serves(run_pgsched: PgschedRunner) -> None:
    face = run_pgsched("web", "--port", "0")
    port = face.wait_for_output(r"http://127\.0\.0\.1:(\d+)/")[1]
    command = SERVICES["web"]["healthcheck"]["test"]
    assert command[:2] == ["CMD", "python"]
    assert ":8080/" in command[3]

    def check() -> int:
        words = [sys.executable, "-c", command[3].replace(":8080/", f":{port}/")]
        return subprocess.run(words, capture_output=True, timeout=20, check=False).returncode

    assert check() == 0
    assert face.stop() == 0
    assert check() != 0


def test_prometheus_asks_services_of_the_composition_at_the_ports_they_have() -> None:
    config = yaml.safe_load((DEPLOY / "prometheus" / "prometheus.compose.yml").read_text())
    workers, face = config["scrape_configs"]
    (found,) = workers["dns_sd_configs"]
    environment = SERVICES["worker"]["environment"]
    assert found["names"] == ["worker"]
    assert str(found["port"]) == environment["PGSCHED_METRICS_PORT"]
    assert environment["PGSCHED_METRICS_HOST"] == "0.0.0.0"
    (target,) = face["static_configs"][0]["targets"]
    assert target == f"web:{SERVICES['web']['environment']['PGSCHED_PORT']}"
    mounted = {volume.split(":")[1] for volume in SERVICES["prometheus"]["volumes"]}
    assert {f"/etc/prometheus/{name}" for name in ("prometheus.yml", *config["rule_files"])} <= mounted
    secret = Path(face["authorization"]["credentials_file"])
    assert secret.parent == Path("/run/secrets")
    assert secret.name in SERVICES["prometheus"]["secrets"]


def test_prometheus_reads_the_configuration() -> None:
    # Only its syntax: the secret is in the container alone.
    run(program("promtool"), "check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.compose.yml")


def test_grafana_gets_what_its_provisioning_reads() -> None:
    grafana = SERVICES["grafana"]
    sources = json.dumps([yaml.safe_load(path.read_text()) for path in (DEPLOY / "grafana").rglob("*.yml")])
    for name in re.findall(r"\$\{(\w+)\}", sources):
        assert name in grafana["environment"]
    assert grafana["environment"]["PROMETHEUS_URL"] == "http://prometheus:9090"
    mounted = {volume.split(":")[1] for volume in grafana["volumes"]}
    (folder,) = re.findall(r'"path": "([^"]+)"', sources)
    assert {folder, "/etc/grafana/provisioning"} <= mounted
