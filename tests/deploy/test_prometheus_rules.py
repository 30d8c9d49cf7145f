"""The files of deploy/prometheus: promtool takes them, their tests pass and leave no alert out, the page agrees."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from pgsched.ops.alerts import Thresholds
from pgsched.ops.doctor.findings import SEVERITIES as FINDING_SEVERITIES
from tests.deploy.parts import program
from tests.support.commands import pgsched
from tests.support.doc_examples import tables
from tests.support.processes import CHECKOUT
from tests.support.prometheus import DEPLOYED

PAGE = CHECKOUT / "docs" / "monitoring.md"
RULES: dict[str, Any] = yaml.safe_load((DEPLOYED / "pgsched.rules.yml").read_text())
ALERTS = [rule for group in RULES["groups"] for rule in group["rules"] if "alert" in rule]
ASKED_FOR = {
    "QueueTooDeep", "QueueTooOld", "DeadLettersGrowing", "ErrorRateHigh", "NothingExecutedWhileDue", "NoLiveWorker",
    "ScheduleStalled", "StartsLate", "LeasesExpire", "DatabaseSlow", "DatabaseErrors", "DeadTuples", "OldSnapshot",
    "NotificationQueueFilling", "UnhandledDue", "FindingError", "FailuresFrequent", "TaskSilent", "TaskRunsLong",
}  # fmt: skip
TABLE_WIDE = (
    "silent_tasks", "long_runs", "died_last_hour",
    "tasks", "queue_due", "queue_oldest_due_seconds", "unhandled_due", "workers", "schedules_stalled",
    "set_aside_tasks", "findings", "table_dead_tuples", "oldest_xmin_age_seconds", "notification_queue_usage",
)  # fmt: skip


def promtool(*arguments: str, folder: Path = DEPLOYED) -> str:
    """What promtool says; an error of it is ours."""
    done = subprocess.run(
        [program("promtool"), *arguments], cwd=folder, capture_output=True, text=True, timeout=600, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The folder, with the token that everybody makes for himself."""
    folder = tmp_path / "prometheus"
    shutil.copytree(DEPLOYED, folder)
    (folder / "metrics_token").write_text("a-token-of-nobody")
    return folder


def test_the_configuration_is_one_for_prometheus(copied: Path) -> None:
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", "prometheus.yml", folder=copied)


def test_the_configuration_for_kubernetes_is_one_but_for_what_debians_build_leaves_out(copied: Path) -> None:
    file = copied / "prometheus.kubernetes.yml"
    config = yaml.safe_load(file.read_text())
    (job,) = config["scrape_configs"]
    assert job.pop("kubernetes_sd_configs") == [{"role": "pod"}]
    file.write_text(yaml.safe_dump(config))
    assert "SUCCESS" in promtool("check", "config", file.name, folder=copied)


def test_the_rules_are_rules() -> None:
    assert f"SUCCESS: {sum(len(group['rules']) for group in RULES['groups'])} rules found" in promtool(
        "check", "rules", "--lint=all", "--lint-fatal", "pgsched.rules.yml"
    )


def test_the_rules_are_what_the_command_prints() -> None:
    assert (DEPLOYED / "pgsched.rules.yml").read_text() == pgsched("alerts").stdout, "run: make docs"


OTHER = {
    "queue_depth": ("PgschedQueueTooDeep", "7", ">= 7"),
    "queue_age": ("PgschedQueueTooOld", "90s", "> 90"),
    "start_delay": ("PgschedStartsLate", "2m", "> 120"),
    "failures_per_minute": ("PgschedFailuresFrequent", "3", ">= 10 * 3"),
    "failure_percent": ("PgschedErrorRateHigh", "5", "> 0.05"),
    "dead_per_hour": ("PgschedDeadLettersGrowing", "2", ">= 2"),
    "idle_for": ("PgschedNothingExecutedWhileDue", "2d", "48h"),
}
"""Of each threshold its alert, another value, and what the alert then has."""


def test_each_threshold_is_an_option_that_changes_its_alert_and_no_other(tmp_path: Path) -> None:
    assert OTHER.keys() == {one.name for one in fields(Thresholds)}
    given = [f"--{name.replace('_', '-')}={value}" for name, (_, value, _) in OTHER.items()]
    (tmp_path / "rules.yml").write_text(pgsched("alerts", *given).stdout)
    assert "SUCCESS" in promtool("check", "rules", "--lint=all", "--lint-fatal", "rules.yml", folder=tmp_path)
    groups = yaml.safe_load((tmp_path / "rules.yml").read_text())["groups"]
    alerts = {rule["alert"]: rule for group in groups for rule in group["rules"] if "alert" in rule}
    for alert, _, wanted in OTHER.values():
        assert wanted in (alerts[alert]["expr"] + alerts[alert].get("for", ""))
    changed = {alert["alert"] for alert in ALERTS if alert != alerts[alert["alert"]]}
    assert changed == {alert for alert, _, _ in OTHER.values()}


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("--queue-depth=0", "queue_depth must be at least 1, got 0"),
        ("--failure-percent=100", "failure_percent must be between 1 and 99, got 100"),
        ("--idle-for=0.5s", "idle_for must be whole seconds, one at least, got '0.5s'"),
        ("--queue-age=soon", 'queue_age: interval "soon" must be'),
    ],
)
def test_senseless_threshold_is_refused_by_its_name(option: str, said: str) -> None:
    done = pgsched("alerts", option)
    assert (done.code, done.stdout) == (1, "")
    assert said in done.stderr


def test_alerts_fire_when_they_should_and_not_just_below() -> None:
    """Each of the files was also checked with thresholds and times of the rules that are a little higher and lower."""
    files = sorted(str(path.relative_to(DEPLOYED)) for path in (DEPLOYED / "tests").glob("*.yml"))
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files) == 4


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_has_a_test_in_which_it_fires_and_one_in_which_it_does_not(alert: dict[str, Any]) -> None:
    tests = [
        one
        for path in (DEPLOYED / "tests").glob("*.yml")
        for test in yaml.safe_load(path.read_text())["tests"]
        for one in test["alert_rule_test"]
        if one["alertname"] == alert["alert"]
    ]
    assert any(one["exp_alerts"] for one in tests)
    assert any(not one["exp_alerts"] for one in tests)


def test_every_alert_that_was_asked_for_is_there() -> None:
    assert {f"Pgsched{name}" for name in ASKED_FOR} - {alert["alert"] for alert in ALERTS} == set()


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_each_alert_says_what_it_is_about(alert: dict[str, Any]) -> None:
    notes = alert["annotations"]
    assert set(notes) == {"summary", "description", "runbook"}
    assert alert["labels"].keys() == {"severity"}
    assert alert["labels"]["severity"] in ("warning", "critical")
    assert "$value" in notes["description"] or "absent" in alert["expr"], "the value tells how bad it is"
    page, _, anchor = notes["runbook"].partition("#")
    assert CHECKOUT / page == PAGE
    assert anchor in {re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-") for heading in _headings()}


def test_what_every_worker_tells_of_the_table_is_not_added_up() -> None:
    """Sums of what all workers tell of one table would grow with their number."""
    for rule in (rule for group in RULES["groups"] for rule in group["rules"]):
        for name in TABLE_WIDE:
            for before in re.findall(rf"(\w+) (?:by \([^)]*\) )?\(pgsched_{name}\b", rule["expr"]):
                assert before in ("max", "group"), (rule, name)


def test_findings_are_asked_for_by_a_severity_that_exists() -> None:
    (expression,) = [alert["expr"] for alert in ALERTS if alert["alert"] == "PgschedFindingError"]
    assert set(re.findall(r'severity="(\w+)"', expression)) <= set(FINDING_SEVERITIES)


def test_the_page_has_each_alert_in_the_section_that_the_alert_names() -> None:
    told = {
        (row["alert"], row["severity"], row["for"], _anchor(one.heading))
        for one in tables(PAGE)
        if "alert" in one.columns
        for row in one.rows
    }
    assert told == {
        (
            alert["alert"],
            alert["labels"]["severity"],
            alert.get("for", ""),
            alert["annotations"]["runbook"].partition("#")[2],
        )
        for alert in ALERTS
    }


def _headings() -> list[str]:
    return re.findall(r"^#+ (.+)$", PAGE.read_text(encoding="utf-8"), re.MULTILINE)


def _anchor(heading: str) -> str:
    return re.sub(r"[^\w -]", "", heading).strip().lower().replace(" ", "-")
