"""Which handlers declare a schedule, and under which key its row is found."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pgsched.app import App
from pgsched.declared import declared_keys


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
