"""deploy/helm/pgsched: linted and rendered by Helm, checked by the schemas of Kubernetes and against itself."""

from __future__ import annotations

import copy
import json
import re
import subprocess
from collections.abc import Mapping
from functools import cache
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
from tools import manifests, prometheusrule
from tools.manifests import CHART

Resource = dict[str, Any]
VERSIONS = ("1.28", "1.32")
EVERYTHING: Mapping[str, Any] = {
    "workers": {
        "default": {"autoscaling": {"by": "keda"}},
        "mail": {
            "queues": ["mail:5@3", "it's"],
            "concurrency": 100,
            "autoscaling": {"by": "hpa", "maxReplicas": 7},
            "env": {"TZ": "UTC", "PGSCHED_LEASE": 60},
            "envFrom": [{"secretRef": {"name": "mail"}}],
            "volumes": [{"name": "fonts", "configMap": {"name": "fonts"}}],
            "volumeMounts": [{"name": "fonts", "mountPath": "/fonts"}],
        },
        "slow": {
            "shutdownTimeout": 600,
            "replicas": 3,
            "processes": 2,
            "args": ["--http", "--allow-sql"],
            "nodeSelector": {"disk": "ssd"},
            "tolerations": [{"key": "batch", "operator": "Exists"}],
            "affinity": {"nodeAffinity": {}},
            "priorityClassName": "low",
            "podLabels": {"team": "jobs"},
            "podAnnotations": {"note": "slow"},
        },
    },
    "image": {"digest": "sha256:" + 64 * "a", "pullSecrets": ["registry"]},
    "commonLabels": {"part-of": "shop"},
    "web": {
        "ingress": {"enabled": True},
        "trustedProxies": "10.0.0.0/8",
        "hidePayloads": True,
        "service": {"annotations": {"note": "web"}},
    },
    "networkPolicy": {"extraEgress": [{"ports": [{"protocol": "TCP", "port": 443}]}]},
    "monitoring": {"serviceMonitor": True, "prometheusRule": True, "labels": {"release": "prometheus"}},
    "serviceAccount": {"annotations": {"role": "jobs"}},
    "migrate": {"serviceAccountName": "migrations"},
}
SETS: Mapping[str, Mapping[str, Any]] = {
    "default": {},
    "everything": EVERYTHING,
    "workers alone": {
        "web": {"enabled": False},
        "migrate": {"enabled": False},
        "networkPolicy": {"enabled": False},
        "serviceAccount": {"create": False},
        "monitoring": {"serviceMonitor": True},
    },
    "another name": {"fullnameOverride": "jobs"},
}
each_set = pytest.mark.parametrize("values", SETS.values(), ids=SETS)


def render(values: Mapping[str, Any], *, release: str = "pgsched") -> list[Resource]:
    """What Helm makes of the chart with these values."""
    return copy.deepcopy(_rendered(json.dumps(values), release))


@cache
def _rendered(values: str, release: str) -> list[Resource]:
    done = subprocess.run(
        [
            program("helm"),
            "template",
            release,
            CHART,
            "--namespace",
            "jobs",
            "--kube-version",
            "1.32.0",
            "--values",
            "-",
        ],
        input=values,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return [document for document in yaml.safe_load_all(done.stdout) if document]


def refused(values: Mapping[str, Any]) -> str:
    """What Helm says about values that it refuses."""
    with pytest.raises(AssertionError) as caught:
        render(values)
    return str(caught.value)


def found(kind: str, name: str, values: Mapping[str, Any] = EVERYTHING) -> Resource:
    (resource,) = [one for one in render(values) if (one["kind"], one["metadata"]["name"]) == (kind, name)]
    return resource


def pods(values: Mapping[str, Any]) -> list[Resource]:
    """The templates of every workload."""
    return [one["spec"]["template"] for one in render(values) if one["kind"] in ("Deployment", "Job")]


def container(pod: Resource) -> Resource:
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def settings(pod: Resource) -> dict[str, str | None]:
    return {entry["name"]: entry.get("value") for entry in container(pod)["env"]}


def validate(resource: Resource) -> None:
    if resource["kind"] in SCHEMAS:
        jsonschema.validate(resource, SCHEMAS[resource["kind"]])
        return
    for version in VERSIONS:
        kubernetes_validate.validate(resource, version, strict=True)


def test_helm_lint_finds_nothing() -> None:
    run(program("helm"), "lint", "--strict", CHART)


@each_set
def test_rendered_resources_are_as_their_schemas_want_them(values: Mapping[str, Any]) -> None:
    resources = render(values)
    for resource in resources:
        validate(resource)
    names = [(one["kind"], one["metadata"]["name"]) for one in resources]
    assert len(names) == len({*names})
    assert "Secret" not in {kind for kind, _ in names}, "an upgrade would overwrite the real one"


@pytest.mark.parametrize("kind", ["Deployment", "ScaledObject"])
def test_schema_would_find_a_field_that_does_not_exist(kind: str) -> None:
    resource = found(kind, "pgsched-worker")
    resource["spec"]["replica"] = 3
    with pytest.raises((kubernetes_validate.ValidationError, jsonschema.ValidationError), match="replica"):
        validate(resource)


def test_manifest_for_clusters_without_helm_is_up_to_date() -> None:
    assert manifests.render(program("helm")) == manifests.TARGET.read_text(), "run: make docs"


def test_two_releases_share_no_name_and_no_selector() -> None:
    one, other = render({}), render({}, release="second")
    names = [{(each["kind"], each["metadata"]["name"]) for each in resources} for resources in (one, other)]
    assert names[0] & names[1] == set()
    selectors = [
        {
            json.dumps(each["spec"]["selector"], sort_keys=True)
            for each in resources
            if "selector" in each.get("spec", {})
        }
        for resources in (one, other)
    ]
    assert selectors[0] & selectors[1] == set()


# Values.


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"wbe": {}}, "'wbe' not allowed"),
        ({"worker": {"concurency": 5}}, "'concurency' not allowed"),
        ({"workers": {"mail": {"concurrency": 0}}}, "minimum: got 0, want 1"),
        ({"workers": {"Mail": {}}}, "'Mail' does not match pattern"),
        ({"worker": {"autoscaling": {"by": "both"}}}, "must be one of 'none', 'keda', 'hpa'"),
        ({"image": {"digest": "abc"}}, "/image/digest"),
        (
            {"migrate": {"lockWait": 900}},
            "migrate.activeDeadlineSeconds must be longer than migrate.lockWait (900), got 900",
        ),
        (
            {"workers": {"mail": {"queues": ["mail.*"], "autoscaling": {"by": "keda"}}}},
            'workers.mail: autoscaling counts the tasks of queues by name, and "mail.*" is a pattern',
        ),
        (
            {"worker": {"autoscaling": {"by": "hpa", "minReplicas": 30}}},
            "workers.default: autoscaling.minReplicas must not be greater than maxReplicas (20), got 30",
        ),
    ],
)
def test_wrong_values_are_refused_with_the_rule(values: Mapping[str, Any], message: str) -> None:
    assert message in refused(values)


def test_values_that_the_page_shows_are_taken() -> None:
    page = (DEPLOY.parent / "docs" / "deploy.md").read_text()
    (shown,) = re.findall(r"```yaml\n(image: .*?)```", page, re.DOTALL)
    resources = render(yaml.safe_load(shown))
    for resource in resources:
        validate(resource)
    kinds = [one["kind"] for one in resources]
    assert {"Ingress", "ScaledObject", "ServiceMonitor", "PrometheusRule"} <= {*kinds}
    assert kinds.count("Deployment") == 3


def test_schema_knows_every_value_and_no_other() -> None:
    """A name that one of the two lacks is a value that cannot be given, or one that does nothing."""
    schema = json.loads((CHART / "values.schema.json").read_text())
    (values,) = read_yaml(CHART / "values.yaml")

    def compare(value: object, rule: dict[str, Any], path: str) -> None:
        if "$ref" in rule:
            rule = schema["$defs"][rule["$ref"].rpartition("/")[2]]
        if isinstance(value, dict) and "properties" in rule:
            known = rule["properties"].keys() - ({"global"} if not path else set())
            assert value.keys() == known, f"{path}: {value.keys() ^ known}"
            for name, inner in value.items():
                compare(inner, rule["properties"][name], f"{path}.{name}")

    compare(values, schema, "")


def test_every_value_is_used() -> None:
    text = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())
    (values,) = read_yaml(CHART / "values.yaml")
    names = {
        name for group in ("worker", "web", "migrate", "networkPolicy", "monitoring", "image") for name in values[group]
    }
    names |= {*values["worker"]["autoscaling"], *values["web"]["ingress"], *values["secret"]["keys"], *values}
    assert {name for name in names if not re.search(rf"\b{name}\b", text)} == set()


def test_a_worker_differs_from_the_defaults_in_what_it_names() -> None:
    mail = container(found("Deployment", "pgsched-worker-mail")["spec"]["template"])
    assert mail["resources"] == container(found("Deployment", "pgsched-worker")["spec"]["template"])["resources"]
    given = {entry["name"]: entry.get("value") for entry in mail["env"]}
    assert given["PGSCHED_QUEUE"] == "mail:5@3 it's"
    assert (given["PGSCHED_CONCURRENCY"], given["PGSCHED_LEASE"]) == ("100", "60")
    slow = container(found("Deployment", "pgsched-worker-slow")["spec"]["template"])
    assert slow["args"] == ["worker", "--http", "--allow-sql"]


def test_image_is_that_of_the_version_unless_another_is_given() -> None:
    (chart,) = read_yaml(CHART / "Chart.yaml")
    assert {container(pod)["image"] for pod in pods({})} == {f"pgsched:{chart['appVersion']}"}
    assert {container(pod)["image"] for pod in pods({"image": {"tag": "x"}})} == {"pgsched:x"}
    assert {container(pod)["image"] for pod in pods(EVERYTHING)} == {f"pgsched@sha256:{64 * 'a'}"}


# What the parts have to agree on.


@each_set
def test_pods_are_as_the_restricted_profile_of_pod_security_demands(values: Mapping[str, Any]) -> None:
    for pod in pods(values):
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


@each_set
def test_variables_are_options_of_the_command(values: Mapping[str, Any]) -> None:
    for pod in pods(values):
        command = container(pod)["args"][:1]
        given = {key: value for key, value in settings(pod).items() if value is not None}
        check_settings(command, dict(given))
        check_settings(command, dict.fromkeys([key for key, value in settings(pod).items() if value is None], "text"))
        assert not any("TOKEN" in key or "DSN" in key for key in given), "a secret in clear"


def test_secrets_that_are_read_are_in_the_example() -> None:
    (secret,) = read_yaml(DEPLOY / "kubernetes" / "secret.example.yaml")
    text = json.dumps(render(EVERYTHING))
    references = re.findall(r'"secretKeyRef": \{"name": "pgsched", "key": "([\w-]+)"', text)
    references += re.findall(r'"credentials": \{"name": "pgsched", "key": "([\w-]+)"', text)
    references += [
        entry["key"] for entry in found("TriggerAuthentication", "pgsched-database")["spec"]["secretTargetRef"]
    ]
    assert {*references} == secret["stringData"].keys()


@pytest.mark.parametrize("name", ["pgsched-worker", "pgsched-worker-slow"])
def test_a_worker_is_given_longer_to_end_than_it_takes(name: str) -> None:
    pod = found("Deployment", name)["spec"]["template"]
    timeout = float(settings(pod)["PGSCHED_SHUTDOWN_TIMEOUT"] or "")
    assert pod["spec"]["terminationGracePeriodSeconds"] >= timeout + LEAVE_SECONDS


def test_the_migrations_get_longer_than_they_wait_for_locks() -> None:
    job = found("Job", "pgsched-migrate")
    waits = float(settings(job["spec"]["template"])["PGSCHED_LOCK_WAIT"] or LOCK_WAIT_SECONDS)
    assert job["spec"]["activeDeadlineSeconds"] > waits


def test_the_migrations_come_first_and_need_nothing_that_is_not_there_yet() -> None:
    job = found("Job", "pgsched-migrate", {})
    assert job["metadata"]["annotations"]["helm.sh/hook"] == "pre-install,pre-upgrade"
    assert "serviceAccountName" not in job["spec"]["template"]["spec"], "the chart makes it after the hook"


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
    assert [entry["port"] for entry in monitor["spec"]["endpoints"]] == [
        one["name"] for one in service["spec"]["ports"]
    ]
    wanted = monitor["spec"]["selector"]["matchLabels"].items()
    selected = [
        one["metadata"]["name"]
        for one in render(EVERYTHING)
        if one["kind"] == "Service" and wanted <= one["metadata"]["labels"].items()
    ]
    more = ["pgsched-worker-mail", "pgsched-worker-slow"] if name == "pgsched-worker" else []
    assert sorted(selected) == [name, *more]


@pytest.mark.parametrize("name", ["pgsched-worker", "pgsched-worker-mail", "pgsched-worker-slow", "pgsched-web"])
def test_selectors_find_the_pods_that_they_are_for_and_no_others(name: str) -> None:
    deployment = found("Deployment", name)["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    wanted = deployment["selector"]["matchLabels"].items()
    assert wanted <= labels
    others = [one for one in render(EVERYTHING) if one["kind"] == "Deployment" and one["metadata"]["name"] != name]
    assert not any(wanted <= one["spec"]["template"]["metadata"]["labels"].items() for one in others)
    budget = found("PodDisruptionBudget", name)["spec"]
    assert budget["selector"]["matchLabels"].items() == wanted
    assert budget["maxUnavailable"] == 1
    spread = deployment["template"]["spec"]["topologySpreadConstraints"]
    assert all(one["labelSelector"]["matchLabels"].items() == wanted for one in spread)
    assert found("NetworkPolicy", "pgsched-default")["spec"]["podSelector"]["matchLabels"].items() <= labels
    assert deployment["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


def test_ingress_leads_to_a_service_that_is_there() -> None:
    (rule,) = found("Ingress", "pgsched-web")["spec"]["rules"]
    backend = rule["http"]["paths"][0]["backend"]["service"]
    ports = found("Service", backend["name"])["spec"]["ports"]
    assert backend["port"]["name"] in [port["name"] for port in ports]


def test_rules_of_the_operator_are_those_of_prometheus() -> None:
    one, other = (target.read_text() for target in prometheusrule.TARGETS)
    assert one == other, "run: make docs"
    assert found("PrometheusRule", "pgsched")["spec"]["groups"] == yaml.safe_load(one)["groups"]


def test_whoever_scrapes_uses_one_job_for_all_of_a_database() -> None:
    for name in ("pgsched-worker", "pgsched-web"):
        (endpoint,) = found("ServiceMonitor", name)["spec"]["endpoints"]
        assert endpoint["relabelings"] == [{"targetLabel": "job", "replacement": "pgsched"}]


# How many workers.


def test_both_autoscalers_mean_the_workers_and_the_number_of_their_slots() -> None:
    deployment = found("Deployment", "pgsched-worker")
    slots = int(settings(deployment["spec"]["template"])["PGSCHED_CONCURRENCY"] or 0)
    keda = found("ScaledObject", "pgsched-worker")["spec"]
    assert "replicas" not in deployment["spec"], "an upgrade would undo what the autoscaler did"
    assert keda["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert keda["triggers"][0]["metadata"]["targetQueryValue"] == str(slots)
    assert (keda["minReplicaCount"], keda["maxReplicaCount"]) == (2, 20)
    hpa = found("HorizontalPodAutoscaler", "pgsched-worker-mail")["spec"]
    assert "replicas" not in found("Deployment", "pgsched-worker-mail")["spec"]
    running, *due = hpa["metrics"]
    assert running["pods"]["target"]["averageValue"] == "75"
    assert [one["external"]["target"]["averageValue"] for one in due] == ["100", "100"]
    queues = [one["external"]["metric"]["selector"]["matchLabels"]["queue"] for one in due]
    assert queues == ["mail", "it's"]
    assert (hpa["minReplicas"], hpa["maxReplicas"]) == (2, 7)


def test_without_an_autoscaler_the_number_is_that_of_the_values() -> None:
    assert found("Deployment", "pgsched-worker-slow")["spec"]["replicas"] == 3
    assert found("Deployment", "pgsched-worker", {})["spec"]["replicas"] == 2


def test_metrics_of_the_autoscaler_exist_and_the_adapter_has_a_rule_for_each() -> None:
    running, due, _ = found("HorizontalPodAutoscaler", "pgsched-worker-mail")["spec"]["metrics"]
    wanted = {running["pods"]["metric"]["name"], due["external"]["metric"]["name"]}
    served = set(re.findall(r"\"(pgsched_\w+)\"", _sources()))
    assert wanted <= served
    (adapter,) = read_yaml(DEPLOY / "kubernetes" / "adapter.example.yaml")
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


def test_query_of_a_queue_with_a_quote_in_its_name_is_one_statement(dsn: str) -> None:
    values = {"workers": {"default": {"queues": ["default", "it's:5"], "autoscaling": {"by": "keda"}}}}
    triggers = found("ScaledObject", "pgsched-worker", values)["spec"]["triggers"]
    with database(dsn) as db:
        insert_task(db, queue="it's")
        counts = [db.execute(trigger["metadata"]["query"]).fetchall() for trigger in triggers]
    assert counts == [[{"count": 0}], [{"count": 1}]]


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


def _sources() -> str:
    return "\n".join(path.read_text() for path in (DEPLOY.parent / "pgsched" / "worker").glob("*.py"))
