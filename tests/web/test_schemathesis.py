"""The REST API against its own description: whatever is sent, the answer is one that the description names.

A short form by default; ``PGSCHED_API_CASES`` says how many cases each operation gets. The long form sends more than
5,000 in all.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.core.failures import FailureGroup
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_schema_conformance,
    status_code_conformance,
)

from pgsched.web import WebSettings, create_app
from pgsched.web.server import serving
from tests.support import servers
from tests.support.tables import database, insert_task, set_completed, set_dead, set_running

SHORT = int(os.environ.get("PGSCHED_API_CASES", "6"))
LONG = 260
CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
STREAMS = ("/api/v1/events",)
"""What would go on for ever."""

DESCRIPTION = create_app("").openapi()
SCHEMA = schemathesis.openapi.from_dict(DESCRIPTION)
OPERATIONS = [operation for found in SCHEMA.get_all_operations() if (operation := found.ok()).path not in STREAMS]

each_operation = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.label)


@pytest.fixture(scope="module")
def address(server_dsn: str, template_database: str) -> Iterator[str]:
    """Where the API is served on a database with tasks in every status, by the ids that are asked for."""
    name = f"{os.environ.get('PYTEST_XDIST_WORKER', 'main')}_described"
    with servers.fresh_database(server_dsn, name, template=template_database) as dsn:
        with database(dsn) as connection:
            for _ in range(5):
                insert_task(connection, "mail", queue="mail", payload="{}")
                insert_task(connection, "report", cron_expression="0 8 * * 1")
                set_running(connection, insert_task(connection, "mail"))
                set_dead(connection, insert_task(connection, "mail"))
                set_completed(connection, insert_task(connection, "mail"))
        with serving(dsn=dsn, settings=WebSettings(port=0)) as url:
            yield url.rstrip("/")


@each_operation
def test_answers_are_those_of_the_description(operation: Any, address: str) -> None:
    ask(operation, address, SHORT)


@pytest.mark.long
def test_answers_to_five_thousand_requests_are_those_of_the_description(address: str) -> None:
    sent = sum(ask(operation, address, LONG) for operation in OPERATIONS)
    assert sent >= 5000


def ask(operation: Any, address: str, cases: int) -> int:
    """Send so many requests, half of them as the description allows and half as it does not; return how many were sent.

    Fewer are sent where there are not so many: some operations take nothing, or nothing that could be wrong.
    """
    sent = 0
    checks = CHECKS if _takes_lists(operation) else [*CHECKS, negative_data_rejection]
    for generation in (schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE):
        if generation == schemathesis.GenerationMode.NEGATIVE and not _can_be_wrong(operation):
            continue
        strategy = operation.as_strategy(generation_mode=generation)

        @settings(
            max_examples=(cases + 1) // 2,
            database=None,
            derandomize=True,
            phases=[Phase.explicit, Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=strategy)
        def send(case: Any) -> None:
            nonlocal sent
            sent += 1
            case.call_and_validate(base_url=address, checks=checks)

        send()
    return sent


def _takes_lists(operation: Any) -> bool:
    """Whether its query has lists: one that is no list is written as a list of one, and so is not wrong."""
    parameters = operation.definition.raw.get("parameters", ())
    return any("array" in str(parameter["schema"]) for parameter in parameters if parameter["in"] == "query")


def _can_be_wrong(operation: Any) -> bool:
    """Whether it takes anything but text in its path or a header, which is right whatever it is."""
    raw = operation.definition.raw
    return "requestBody" in raw or any(
        parameter["schema"].get("type") != "string" and parameter["in"] != "header"
        for parameter in raw.get("parameters", ())
    )


# The checks themselves.


def test_an_answer_that_the_description_does_not_name_is_found(address: str) -> None:
    description = create_app("").openapi()
    answers = description["paths"]["/api/v1/tasks/{id}"]["get"]["responses"]
    del answers["404"]
    schema = schemathesis.openapi.from_dict(description)
    case = schema["/api/v1/tasks/{id}"]["GET"].Case(path_parameters={"id": 10**9})
    with pytest.raises(FailureGroup, match="404"):
        case.call_and_validate(base_url=address, checks=CHECKS)


def test_an_answer_of_another_shape_is_found(address: str) -> None:
    description = create_app("").openapi()
    description["components"]["schemas"]["TaskStatus"]["properties"]["id"] = {"type": "string"}
    schema = schemathesis.openapi.from_dict(description)
    task_id = httpx.get(f"{address}/api/v1/tasks?limit=1").json()["items"][0]["id"]
    case = schema["/api/v1/tasks/{id}"]["GET"].Case(path_parameters={"id": task_id})
    with pytest.raises(FailureGroup, match='not of type "string"'):
        case.call_and_validate(base_url=address, checks=CHECKS)
