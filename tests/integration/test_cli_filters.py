"""The command line has every filter that the REST API has."""

from __future__ import annotations

import inspect

import click
import pytest

from pgsched.cli import commands
from pgsched.web.api import audit, executions, task_query
from tools.docs.cli_page import inner_commands

PAGE = {"limit", "cursor", "fields", "actor"}
"""Parameters of a request that choose a page and not rows; ``actor`` is who asks."""


def options_of(group: str) -> set[str]:
    """The parameters of ``list``, by the names that the program has for them."""
    command: click.Command = inner_commands(inner_commands(commands)[group])["list"]
    return {one.name or "" for one in command.params}


@pytest.mark.parametrize(
    ("group", "query"),
    [("task", task_query.ListFilter), ("dead", task_query.DeadQuery), ("schedule", task_query.ListFilter)],
)
def test_lists_of_tasks_have_the_filters_of_rest(group: str, query: type[task_query.ListFilter]) -> None:
    names = {"id": "ids", "q": "query"}
    wanted = {names.get(name, name) for name in query.model_fields} - PAGE
    assert wanted - options_of(group) == set()


def test_list_of_executions_has_the_filters_of_rest() -> None:
    wanted = set(inspect.signature(executions.list_all_executions).parameters) - PAGE
    assert {"queue", "task_type", "status", "within"} <= wanted
    assert wanted - options_of("execution") == set()


def test_list_of_the_audit_log_has_the_filters_of_rest() -> None:
    names = {"task_id": "task", "by": "actor"}
    wanted = {names.get(name, name) for name in set(inspect.signature(audit.list_audit).parameters) - PAGE}
    assert wanted - options_of("audit") == set()
