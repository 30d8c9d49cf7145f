"""``pgsched task tree`` and ``pgsched group show``: shows a task, its steps and its dependencies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import click

from pgsched.cli.output import first_line, say, say_table
from pgsched.cli.session import shows
from pgsched.cli.task_name import task_argument
from pgsched.cli.times import span
from pgsched.domain.task_tree import TaskNode

if TYPE_CHECKING:
    from pgsched.client.client import Client

_SHOWN_IDS = 5


def say_tree(root: TaskNode) -> None:
    """Print the tree of a task."""
    lines = list(_lines(root))
    say_table(
        ("TASK", "TYPE", "STATUS", "DURATION", "AFTER", "ERROR"),
        [
            (label, one.task_type, one.status, _took(one.duration), _ids(one.depends_on), first_line(one.last_error))
            for label, one in lines
        ],
    )
    if any(one.cut for _, one in lines):
        say("… and more tasks that are not shown")


def _took(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    return f"{seconds:.1f} s" if 1 <= seconds < 60 else span(max(seconds, 0))


def _ids(ids: Sequence[int]) -> str | None:
    if not ids:
        return None
    shown = ", ".join(map(str, ids[:_SHOWN_IDS]))
    return shown if len(ids) <= _SHOWN_IDS else f"{shown}, … ({len(ids)} in all)"


def _lines(node: TaskNode, begin: str = "", word: str = "", inner: str = "") -> Iterator[tuple[str, TaskNode]]:
    """Yield every task with its branch of the tree."""
    yield f"{begin}{word}{node.id} {node.name}" if node.name else f"{begin}{word}{node.id}", node
    below = [
        *(("needs ", one) for one in node.upstream),
        *(("", one) for one in node.children),
        *(("then ", one) for one in node.dependents),
    ]
    for at, (kind, one) in enumerate(below, 1):
        last = at == len(below)
        yield from _lines(one, inner + ("└─ " if last else "├─ "), kind, inner + ("   " if last else "│  "))


@click.command()
@task_argument()
@shows(say_tree)
def tree(client: Client, task_id: int) -> TaskNode:
    """Show a task with the steps of its group, what it waits for ("needs") and what waits for it ("then")."""
    return client.tree(task_id)
