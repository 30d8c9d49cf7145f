"""deploy/kubernetes: by the schemas of Kubernetes, strictly, and by what its parts have to agree on."""

from __future__ import annotations

import copy
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import psycopg
import pytest
import yaml

from pgsched.db.migrations.runner import LOCK_WAIT_SECONDS, migrate
from tests.deploy.parts import DEPLOY, LEAVE_SECONDS, check_settings, program, read_yaml, run
from tests.deploy.schemas import SCHEMAS
from tests.support.roles import login
from tests.support.tables import database, insert_task, set_completed, set_running
from tools import prometheusrule

FOLDER = DEPLOY / "kubernetes"
MANIFESTS = sorted(
    path for path in FOLDER.rglob("*.yaml") if path.name not in ("kustomization.yaml", "adapter.example.yaml")
)
RESOURCES = [(path, document) for path in MANIFESTS for document in read_yaml(path)]
VERSIONS = ("1.28", "1.32")


def found(kind: str, name: str) -> dict[str, Any]:
    (resource,) = [one for _, one in RESOURCES if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return copy.deepcopy(resource)


def pods() -> list[tuple[str, dict[str, Any]]]:
    """The templates of every workload."""
    kinds = ("Deployment", "Job")
    return [(one["metadata"]["name"], one["spec"]["template"]) for _, one in RESOURCES if one["kind"] in kinds]


def container(pod: dict[str, Any]) -> dict[str, Any]:
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def settings(pod: dict[str, Any]) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in container(pod)["env"]}


def names(resources: list[tuple[Path, dict[str, Any]]]) -> list[str]:
    return [f"{path.stem}-{one['kind']}-{one['metadata']['name']}" for path, one in resources]


def validate(resource: dict[str, Any]) -> None:
    if resource["kind"] in SCHEMAS:
        jsonschema.validate(resource, SCHEMAS[resource["kind"]])
        return
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


@pytest.mark.parametrize("resource", [one for _, one in RESOURCES], ids=names(RESOURCES))
def test_manifest_is_as_its_schema_wants_it(resource: dict[str, Any]) -> None:
    validate(resource)


@pytest.mark.parametrize("kind", ["Deployment", "ScaledObject"])
def test_schema_would_find_a_field_that_does_not_exist(kind: str) -> None:
    resource = found(kind, "pgsched-worker")
    resource["spec"]["replica"] = 3
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError), match="replica"):
        validate(resource)


# As kustomize puts them together.


def kustomize(folder: Path) -> list[dict[str, Any]]:
    text = run(program("kubectl"), "kustomize", folder)
    return [document for document in yaml.safe_load_all(text) if document]


def overlay(tmp_path: Path, *components: str) -> Path:
    """As docs/deploy.md shows it, in a copy: kustomize takes no paths from elsewhere."""
    shutil.copytree(FOLDER, tmp_path / "kubernetes")
    folder = tmp_path / "overlay"
    folder.mkdir()
    (folder / "kustomization.yaml").write_text(
        yaml.safe_dump(
            {
                "apiVersion": "kustomize.config.k8s.io/v1beta1",
                "kind": "Kustomization",
                "namespace": "jobs",
                "resources": ["../kubernetes/base"],
                "components": [f"../kubernetes/components/{name}" for name in components],
                "patches": [
                    {
                        "target": {"kind": "Deployment", "name": "pgsched-worker"},
                        "patch": json.dumps(
                            [
                                {
                                    "op": "replace",
                                    "path": "/spec/template/spec/containers/0/env/1/value",
                                    "value": "tasks:app",
                                }
                            ]
                        ),
                    }
                ],
            }
        )
    )
    return folder


def test_kustomize_puts_together_what_is_valid_with_one_autoscaler_and_the_image_of_the_registry() -> None:
    resources = kustomize(FOLDER)
    for resource in resources:
        validate(resource)
    kinds = [resource["kind"] for resource in resources]
    assert kinds.count("ScaledObject") == 1
    assert "HorizontalPodAutoscaler" not in kinds
    assert "Secret" not in kinds, "applying it would overwrite the real one"
    images = {container(one["spec"]["template"])["image"] for one in resources if one["kind"] in ("Deployment", "Job")}
    assert images == {"registry.example.com/pgsched:0.1.0"}
    assert {one["metadata"].get("namespace") for one in resources if one["kind"] != "Namespace"} == {"pgsched"}


@pytest.mark.parametrize("components", [(), ("hpa",), ("keda", "monitoring")])
def test_components_go_together_in_an_overlay(components: tuple[str, ...], tmp_path: Path) -> None:
    resources = kustomize(overlay(tmp_path, *components))
    for resource in resources:
        validate(resource)
    kinds = [resource["kind"] for resource in resources]
    assert ("HorizontalPodAutoscaler" in kinds) == ("hpa" in components)
    assert ("ServiceMonitor" in kinds) == ("monitoring" in components)
    (worker,) = [
        one for one in resources if one["metadata"]["name"] == "pgsched-worker" and one["kind"] == "Deployment"
    ]
    assert settings(worker["spec"]["template"])["PGSCHED_APP"] == "tasks:app"
    assert [one["metadata"]["name"] for one in resources if one["kind"] == "Namespace"] == ["jobs"]
    assert {one["metadata"].get("namespace") for one in resources if one["kind"] != "Namespace"} == {"jobs"}


def test_every_manifest_is_in_a_kustomization_or_an_example() -> None:
    listed = {
        (path.parent / name).resolve()
        for path in FOLDER.rglob("kustomization.yaml")
        for name in (*yaml.safe_load(path.read_text()).get("resources", ()),)
    }
    assert [path.name for path in MANIFESTS if path not in listed] == ["ingress.example.yaml", "secret.example.yaml"]


# What the parts have to agree on.


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_pods_are_restricted_as_the_namespace_demands(name: str, pod: dict[str, Any]) -> None:
    labels = found("Namespace", "pgsched")["metadata"]["labels"]
    assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert pod["spec"]["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    user = re.findall(r"^USER (\d+):(\d+)$", (DEPLOY / "Dockerfile").read_text(), re.MULTILINE)
    context = pod["spec"]["securityContext"]
    assert user == [(str(context["runAsUser"]), str(context["runAsGroup"]))]
    assert container(pod)["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert {"requests", "limits"} == container(pod)["resources"].keys()


@pytest.mark.parametrize(("name", "pod"), pods(), ids=[name for name, _ in pods()])
def test_variables_are_options_of_the_command(name: str, pod: dict[str, Any]) -> None:
    given = {key: value for key, value in settings(pod).items() if value is not None}
    check_settings(container(pod)["args"], dict(given))
    from_secrets = {key for key, value in settings(pod).items() if value is None}
    check_settings(container(pod)["args"], dict.fromkeys(from_secrets, "text"))
    assert not any("TOKEN" in key or "DSN" in key for key in given), "a secret in clear"


def test_secrets_that_are_read_are_in_the_example() -> None:
    keys = found("Secret", "pgsched")["stringData"].keys()
    references = re.findall(r"(?:secretKeyRef|credentials): \{name: pgsched, key: ([\w-]+)", _all_text())
    references += [
        entry["key"] for entry in found("TriggerAuthentication", "pgsched-database")["spec"]["secretTargetRef"]
    ]
    assert set(references) == keys


def test_a_worker_is_given_longer_to_end_than_it_takes() -> None:
    pod = found("Deployment", "pgsched-worker")["spec"]["template"]
    timeout = float(settings(pod)["PGSCHED_SHUTDOWN_TIMEOUT"] or "")
    assert pod["spec"]["terminationGracePeriodSeconds"] >= timeout + LEAVE_SECONDS


def test_the_migrations_get_longer_than_they_wait_for_locks() -> None:
    job = found("Job", "pgsched-migrate")
    waits = float(settings(job["spec"]["template"])["PGSCHED_LOCK_WAIT"] or LOCK_WAIT_SECONDS)
    assert job["spec"]["activeDeadlineSeconds"] > waits


@pytest.mark.parametrize(
    ("name", "port", "variable"),
    [("pgsched-worker", "metrics", "PGSCHED_METRICS_PORT"), ("pgsched-web", "http", "PGSCHED_PORT")],
)
def test_probes_services_and_monitors_ask_the_port_that_is_served(name: str, port: str, variable: str) -> None:
    pod = found("Deployment", name)["spec"]["template"]
    only = container(pod)
    assert only["ports"] == [{"name": port, "containerPort": int(settings(pod)[variable] or 0)}]
    assert pod["metadata"]["annotations"]["prometheus.io/port"] == settings(pod)[variable]
    assert settings(pod)[variable.replace("PORT", "HOST")] == "0.0.0.0"  # kubelet does not come from within
    probes = [only[probe]["httpGet"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")]
    assert probes == [{"path": path, "port": port} for path in ("/healthz", "/healthz", "/readyz")]
    service = found("Service", name)
    assert [entry["targetPort"] for entry in service["spec"]["ports"]] == [port]
    assert service["spec"]["selector"].items() <= pod["metadata"]["labels"].items()
    monitor = found("ServiceMonitor", name)
    assert monitor["spec"]["selector"]["matchLabels"].items() <= service["metadata"]["labels"].items()
    assert [entry["port"] for entry in monitor["spec"]["endpoints"]] == [
        one["name"] for one in service["spec"]["ports"]
    ]
    others = [one for _, one in RESOURCES if one["kind"] == "Service" and one["metadata"]["name"] != name]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    assert not any(wanted <= other["metadata"]["labels"].items() for other in others), "it selects another Service too"


@pytest.mark.parametrize("name", ["pgsched-worker", "pgsched-web"])
def test_selectors_find_the_pods_that_they_are_for(name: str) -> None:
    deployment = found("Deployment", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    budget = found("PodDisruptionBudget", name)["spec"]
    assert deployment["selector"]["matchLabels"].items() <= labels
    assert budget["selector"]["matchLabels"].items() <= labels
    assert budget["maxUnavailable"] == 1
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert all(one["labelSelector"]["matchLabels"].items() <= labels for one in spread)
    assert found("NetworkPolicy", "pgsched-default")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_ingress_leads_to_a_service_that_is_there() -> None:
    (rule,) = found("Ingress", "pgsched-web")["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    ports = found("Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in [port["name"] for port in ports]


def test_rules_of_the_operator_are_those_of_prometheus() -> None:
    assert prometheusrule.TARGET.read_text() == prometheusrule.render(), "run: make docs"
    rule = found("PrometheusRule", "pgsched")
    assert rule["spec"]["groups"] == yaml.safe_load(prometheusrule.SOURCE.read_text())["groups"]


def test_whoever_scrapes_tells_one_job_for_all_of_a_database() -> None:
    for name in ("pgsched-worker", "pgsched-web"):
        (endpoint,) = found("ServiceMonitor", name)["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "pgsched"}]


# How many workers.


def test_both_autoscalers_mean_the_workers_and_the_number_of_their_slots() -> None:
    deployment = found("Deployment", "pgsched-worker")
    slots = int(settings(deployment["spec"]["template"])["PGSCHED_CONCURRENCY"] or 0)
    keda = found("ScaledObject", "pgsched-worker")["spec"]
    hpa = found("HorizontalPodAutoscaler", "pgsched-worker")["spec"]
    assert "replicas" not in deployment["spec"], "applying it would undo what the autoscaler did"
    assert keda["scaleTargetRef"]["name"] == hpa["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert keda["triggers"][0]["metadata"]["targetQueryValue"] == str(slots)
    running, due = hpa["metrics"]
    assert int(running["pods"]["target"]["averageValue"]) == slots * 3 // 4
    assert due["external"]["target"]["averageValue"] == str(slots)
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (hpa["minReplicas"], hpa["maxReplicas"])


def test_metrics_of_the_autoscaler_exist_and_the_adapter_has_a_rule_for_each() -> None:
    running, due = found("HorizontalPodAutoscaler", "pgsched-worker")["spec"]["metrics"]
    wanted = {running["pods"]["metric"]["name"], due["external"]["metric"]["name"]}
    served = set(re.findall(r"\"(pgsched_\w+)\"", _sources()))
    assert wanted <= served
    (adapter,) = read_yaml(FOLDER / "components" / "hpa" / "adapter.example.yaml")
    rules = adapter["rules"]
    assert {rules["custom"][0]["name"]["as"], rules["external"][0]["name"]["as"]} == wanted


def keda_query() -> str:
    (trigger,) = found("ScaledObject", "pgsched-worker")["spec"]["triggers"]
    return str(trigger["metadata"]["query"])


def test_query_counts_what_is_due_and_what_runs_and_nothing_else(dsn: str) -> None:
    with database(dsn) as db:
        for _ in range(3):
            insert_task(db)
        running = [insert_task(db, priority=priority) for priority in (1, 10)]
        for task_id in running:
            set_running(db, task_id)
        db.execute("insert into pgsched.tasks (task_type, scheduled_for) values ('mail', now() + interval '1 hour')")
        insert_task(db, enabled=False)
        insert_task(db, queue="other")
        set_completed(db, insert_task(db))
        assert db.execute(keda_query()).fetchall() == [{"count": 5}]
        db.execute("delete from pgsched.tasks where status = 'pending'")
        assert db.execute(keda_query()).fetchall() == [{"count": 2}], "those that run keep their workers"
        db.execute("insert into pgsched.queues (name, paused) values ('default', true)")
        assert db.execute(keda_query()).fetchall() == [{"count": 0}]


def test_query_reads_only_the_index_of_what_is_due(dsn: str) -> None:
    with database(dsn) as db:
        db.execute(
            """
            insert into pgsched.tasks (task_type, scheduled_for, priority)
            select 'mail', now() + interval '1 day', 1 + n % 10 from generate_series(1, 3000) n
            """
        )
        insert_task(db)
        db.execute("analyze pgsched.tasks")
        plan = db.execute("explain (analyze, buffers off, format text) " + keda_query()).fetchall()
    text = "\n".join(str(line["QUERY PLAN"]) for line in plan)
    assert "tasks_due" in text
    assert "Seq Scan on tasks" not in text
    assert "Rows Removed by Filter: 3000" not in text


def test_query_needs_no_more_than_a_viewer_may(empty_dsn: str, database_name: str) -> None:
    migrate(empty_dsn, roles=True)
    with login(empty_dsn, f"keda_{database_name}", member_of="pgsched_viewer") as viewer, psycopg.connect(viewer) as db:
        assert db.execute(keda_query().encode()).fetchall() == [(0,)]


def _all_text() -> str:
    return "\n".join(path.read_text() for path in MANIFESTS)


def _sources() -> str:
    return "\n".join(path.read_text() for path in (DEPLOY.parent / "pgsched" / "worker").glob("*.py"))
