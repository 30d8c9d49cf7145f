"""What follows from an exception by its type, and an attempt that is snoozed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from pgsched.app.app import App
from pgsched.concurrency.thread_pool import Threads
from pgsched.domain.attempt import Outcome
from pgsched.domain.errors import Discard, Finished, RegistrationError, Retry, Snooze
from pgsched.domain.lifecycle import conclude
from pgsched.execution.failure_rules import failure_rules
from pgsched.execution.handler import Handler
from pgsched.execution.outcomes import raised
from pgsched.execution.runner import run_attempt
from tests.support.engine import NOW, PATIENCE, claimed


class Busy(ConnectionError):
    wait = 7


def told(error: BaseException, **options: Any) -> tuple[str, float | None]:
    """Status and delay of an attempt whose handler raises."""
    outcome = raised(error, 0.0, failure_rules("handler 'mail'", **options))
    return outcome.status, outcome.retry_delay


RETRIED, DEAD = ("failed", None), ("discarded", None)


@pytest.mark.parametrize(
    ("error", "options", "outcome"),
    [
        (ValueError(), {}, RETRIED),
        (Busy(), {"retry_on": ConnectionError}, RETRIED),
        (ValueError(), {"retry_on": (ConnectionError, TimeoutError)}, DEAD),
        (ValueError(), {"discard_on": (ValueError,)}, DEAD),
        (KeyError(), {"discard_on": LookupError}, DEAD),
        (ConnectionError(), {"discard_on": Busy}, RETRIED),
        (ValueError(), {"backoff_on": {ValueError: "1m"}}, ("failed", 60.0)),
        (Busy(), {"backoff_on": {OSError: timedelta(seconds=2)}}, ("failed", 2.0)),
        (Busy(), {"backoff_on": {Busy: lambda error: error.wait}}, ("failed", 7.0)),
        (Busy(), {"backoff_on": {Busy: lambda error: None}}, RETRIED),
        # The nearest class decides.
        (Busy(), {"retry_on": OSError, "discard_on": ConnectionError, "backoff_on": {Busy: 3}}, ("failed", 3.0)),
        (ConnectionError(), {"retry_on": OSError, "discard_on": ConnectionError}, DEAD),
        (ValueError(), {"retry_on": (), "backoff_on": {ValueError: 1}}, ("failed", 1.0)),
        # What the handler asks for comes before.
        (Retry(5), {"retry_on": (), "discard_on": Exception}, ("failed", 5)),
        (Discard(), {"retry_on": Exception}, DEAD),
        (Snooze(9), {"discard_on": Exception}, ("snoozed", 9)),
        (Finished(), {"discard_on": Exception}, ("completed", None)),
        # Groups.
        (ExceptionGroup("", [Busy(), ValueError()]), {"discard_on": ValueError}, DEAD),
        (ExceptionGroup("", [Busy(), ValueError()]), {"retry_on": Busy}, DEAD),
        (ExceptionGroup("", [Busy(), KeyError()]), {"backoff_on": {Busy: 2, KeyError: 4}}, ("failed", 4.0)),
        (ExceptionGroup("", [Snooze(3), ValueError(), Snooze(8)]), {}, ("snoozed", 8)),
        (ExceptionGroup("", [Snooze(3), Retry(1)]), {}, ("failed", 1)),
        (ExceptionGroup("", [Snooze(3), Finished()]), {}, ("snoozed", 3)),
    ],
)
def test_what_follows_from_a_type(error: BaseException, options: dict[str, Any], outcome: tuple[str, Any]) -> None:
    assert told(error, **options) == outcome


@pytest.mark.parametrize("delay", [lambda error: 1 / 0, lambda error: -1, lambda error: "soon", lambda error: 1e9])
def test_a_delay_that_cannot_be_told_is_told_with_the_error(delay: Callable[[BaseException], Any]) -> None:
    outcome = raised(ValueError("bad"), 0.0, failure_rules("handler 'mail'", backoff_on={ValueError: delay}))
    assert (outcome.status, outcome.retry_delay) == ("failed", None)
    assert str(outcome.error).startswith("ValueError: bad (backoff_on failed: ")


@pytest.mark.parametrize("kind", ["async", "plain"])
def test_the_rules_of_a_handler_hold_wherever_it_runs(kind: str) -> None:
    app = App()

    async def on_loop() -> None:
        raise ValueError

    def plain() -> None:
        raise ValueError

    handle = app.task("mail", discard_on=ValueError)(on_loop if kind == "async" else plain)

    assert asyncio.run(_outcome_of(handle.handler)).status == "discarded"


async def _outcome_of(handler: Handler) -> Outcome:
    outcomes: list[Outcome] = []
    threads: Threads[Outcome] = Threads(limit=1, name="test")
    await asyncio.wait_for(
        run_attempt(handler, {}, None, timeout=None, threads=threads, report=outcomes.append), PATIENCE
    )
    threads.close()
    return outcomes[0]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"retry_on": "ValueError"}, "retry_on must hold exception types, got 'V'"),
        ({"discard_on": (int,)}, "discard_on must hold exception types, got <class 'int'>"),
        ({"backoff_on": {ValueError: -1}}, "backoff_on of ValueError: delay"),
        ({"backoff_on": {ValueError: "soon"}}, "backoff_on of ValueError: delay"),
        ({"backoff_on": {ValueError: "400d"}}, "backoff_on of ValueError: delay must be between"),
        ({"retry_on": ValueError, "discard_on": ValueError}, "ValueError is in discard_on and in retry_on"),
        ({"discard_on": ValueError, "backoff_on": {ValueError: 1}}, "ValueError is in discard_on and in backoff_on"),
        ({"max_snoozes": -1}, "max_snoozes must be at least 0, got -1"),
    ],
)
def test_rules_that_make_no_sense_are_refused_naming_the_handler(options: dict[str, Any], words: str) -> None:
    with pytest.raises(RegistrationError, match=f"handler 'mail': {words}"):
        App().task("mail", **options)


def test_without_options_there_are_no_rules() -> None:
    assert App().task("mail")(lambda: None).handler.failure_rules is None


@pytest.mark.parametrize("delay", [-1, 367 * 86400, float("nan")])
def test_a_snooze_that_makes_no_sense_is_refused(delay: float) -> None:
    with pytest.raises(ValueError, match="delay must be between 0 seconds and 366 days"):
        Snooze(delay)


@pytest.mark.parametrize("schedule", [{}, {"cron_expression": "0 * * * *"}])
def test_a_snoozed_attempt_is_not_counted(schedule: dict[str, Any]) -> None:
    task = claimed(attempts=3, max_attempts=3, **schedule)
    finish = conclude(task, Outcome("snoozed", 0, 1, retry_delay=30), at=lambda _: NOW, random=lambda: 0.5)
    assert (finish.next_status, finish.execution, finish.attempts, finish.retry_in) == ("pending", "snoozed", 2, 30)
    assert finish.next_tick == (task.scheduled_for if schedule else None)
    assert not finish.counted
