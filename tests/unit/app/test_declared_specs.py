"""Which handlers declare a schedule, and under which key its row is found."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from pgsched.app.app import App
from pgsched.app.task_handle import TaskHandle
from pgsched.domain.errors import InvalidTask, PayloadMismatch, RegistrationError
from pgsched.worker.declared_schedules import declared_keys


def keys(**handlers: dict[str, Any]) -> tuple[str, ...]:
    app = App()
    for task_type, options in handlers.items():
        decorate: Callable[[Callable[[], None]], object] = app.task(task_type, **options)
        decorate(lambda: None)
    return declared_keys(app.registry)


def test_cron_and_every_declare_a_schedule_named_after_the_type() -> None:
    assert keys(digest={"cron": "0 8 * * *"}, poll={"every": "1m"}) == ("declared:digest", "declared:poll")


def test_a_declaration_may_name_its_key() -> None:
    assert keys(digest={"cron": "0 8 * * *", "idempotency_key": "mine"}) == ("mine",)


def test_a_handler_with_other_options_declares_nothing() -> None:
    assert keys(digest={}, poll={"timezone": "Europe/Berlin", "delay": 5, "idempotency_key": "k"}) == ()


# Several schedules of one handler.


def reporting(**options: Any) -> tuple[App, TaskHandle[..., Any]]:
    app = App()

    @app.task("report", **options)
    def report(region: str = "eu") -> None: ...

    return app, report


def test_a_handler_declares_several_schedules_by_name() -> None:
    app, report = reporting(cron="0 7 * * *", queue="reports", max_attempts=7)
    report.declare({"region": "eu"}, name="europe", cron="0 8 * * *", timezone="Europe/Berlin")
    report.declare({"region": "us"}, name="america", every="1h", max_attempts=2)
    assert declared_keys(app.registry) == ("declared:report", "declared:report:europe", "declared:report:america")
    _, europe, america = report.handler.schedules
    assert (europe.payload, europe.cron, europe.queue, europe.max_attempts) == (
        {"region": "eu"},
        "0 8 * * *",
        "reports",
        7,
    )
    assert (america.cron, america.every, america.queue, america.max_attempts) == (None, "1h", "reports", 2)
    assert europe.timezone == "Europe/Berlin"


def test_a_named_declaration_may_name_its_key() -> None:
    app, report = reporting()
    report.declare(name="europe", cron="0 8 * * *", idempotency_key="mine")
    assert declared_keys(app.registry) == ("mine",)


@pytest.mark.parametrize(
    ("payload", "options", "error", "words"),
    [
        ({}, {"cron": "0 8 * * *"}, RegistrationError, "'report' must have a name"),
        ({}, {"name": "a"}, RegistrationError, "'report' must have cron or every"),
        ({"zone": "eu"}, {"name": "a", "cron": "0 8 * * *"}, PayloadMismatch, "unexpected argument 'zone'"),
        ({}, {"name": "a", "cron": "0 8 * *"}, InvalidTask, "0 8 * *"),
        ({}, {"name": "taken", "cron": "0 8 * * *"}, RegistrationError, "'declared:report:taken' is declared already"),
    ],
)
def test_a_senseless_declaration_is_refused_and_changes_nothing(
    payload: dict[str, Any], options: Any, error: type[Exception], words: str
) -> None:
    app, report = reporting()
    report.declare(name="taken", cron="0 9 * * *")
    with pytest.raises(error, match=re.escape(words)):
        report.declare(payload, **options)
    assert declared_keys(app.registry) == ("declared:report:taken",)


def test_two_declarations_cannot_have_the_same_key() -> None:
    app, report = reporting()
    report.declare(name="a", cron="0 8 * * *")
    with pytest.raises(RegistrationError, match="'declared:report:a' is declared already"):
        app.task("report:a", cron="0 8 * * *")(lambda: None)
