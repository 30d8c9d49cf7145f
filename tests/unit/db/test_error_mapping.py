from __future__ import annotations

import pytest
from psycopg import errors

from pgsched.db.error_mapping import Said, explain_said
from pgsched.domain.errors import ConfigError, InvalidLock, InvalidTask, InvalidValue
from pgsched.domain.queue_selector import parse_queue_spec
from pgsched.domain.task_spec import TaskSpec


def data_of(error: InvalidValue | None) -> tuple[object, ...]:
    assert error is not None
    return error.field, error.rule, error.value


def test_rule_that_python_and_the_database_both_refuse_has_the_same_data_and_text() -> None:
    with pytest.raises(InvalidTask) as caught:
        TaskSpec(task_type="mail", priority=99)
    said = Said(errors.CheckViolation, "value for domain", "priority_must_be_between_1_and_10")
    refused = explain_said(said, {"priority": 99})
    assert isinstance(refused, InvalidTask)
    assert data_of(refused) == data_of(caught.value) == ("priority", "must be between 1 and 10", 99)
    assert str(refused) == str(caught.value) == "priority must be between 1 and 10, got 99"


@pytest.mark.parametrize("column", ["payload", "metadata"])
def test_value_that_may_be_secret_is_not_carried(column: str) -> None:
    refused = explain_said(Said(errors.CheckViolation, "", f"{column}_must_not_exceed_1_mib"), {column: "hunter2"})
    assert isinstance(refused, InvalidTask)
    assert data_of(refused) == (column, "must not exceed 1 MiB", ...)
    with pytest.raises(InvalidTask) as caught:
        TaskSpec(task_type="mail", **{column: ["hunter2"]})  # type: ignore[arg-type]
    assert data_of(caught.value) == (column, "must be a dictionary", "a list")


def test_trigger_names_the_column_beside_its_sentence() -> None:
    said = Said(errors.InvalidParameterValue, "depends_on: task 7 does not exist", column="depends_on")
    refused = explain_said(said)
    assert isinstance(refused, InvalidTask)
    assert (refused.field, str(refused)) == ("depends_on", "depends_on: task 7 does not exist")


def test_same_rule_is_an_error_of_another_class_elsewhere() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_queue_spec("mail:0")
    assert data_of(caught.value) == ("queues", "must be between 1 and 10000", 0)
    lock = InvalidLock.of(InvalidTask("must be text", field="name", value=5), subject="lock name")
    assert (data_of(lock), str(lock)) == (("name", "must be text", 5), "lock name must be text, got 5")
