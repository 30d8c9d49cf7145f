"""``pgsched task tree`` and ``pgsched group show``: a task with its steps and what it waits for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import click

from pgsched.cli.options import TASK_ID, json_option
from pgsched.cli.output import cell, say, say_json, say_table, span
from pgsched.cli.session import Session
from pgsched.domain.task_tree import TaskNode

_SHOWN_IDS = 5


@click.command()
@click.argument("task_id", metavar="ID", type=TASK_ID)
@json_option
@click.pass_obj
def tree(session: Session, task_id: int, as_json: bool) -> None:
    """Show a task with the steps of its group, what it waits for ("needs") and what waits for it ("then")."""
    show_tree(session, task_id, as_json=as_json)


def show_tree(session: Session, task_id: int, *, as_json: bool) -> None:
    """Print the tree of a task."""
    with session.client() as client:
        root = client.tree(task_id)
    if as_json:
        say_json(root.as_dict())
        return
    say_table(
        ("TASK", "TYPE", "STATUS", "TOOK", "AFTER", "ERROR"),
        [
            (
                label,
                one.task_type,
                one.status,
                None if one.duration is None else _took(one.duration),
                _ids(one.depends_on),
                None if one.last_error is None else cell(one.last_error.strip().partition("\n")[0]),
            )
            for label, one in _lines(root)
        ],
        empty="",
    )
    if any(one.cut for _, one in _lines(root)):
        say("… and more than is shown here")


def _took(seconds: float) -> str:
    return f"{seconds:.1f} s" if 1 <= seconds < 60 else span(max(seconds, 0))


def _ids(ids: Sequence[int]) -> str | None:
    if not ids:
        return None
    shown = ", ".join(map(str, ids[:_SHOWN_IDS]))
    return shown if len(ids) <= _SHOWN_IDS else f"{shown}, … ({len(ids)} in all)"


def _lines(node: TaskNode, begin: str = "", word: str = "", inner: str = "") -> Iterator[tuple[str, TaskNode]]:
    """Every task with the branch that leads to it."""
    yield f"{begin}{word}{node.id} {node.name}" if node.name else f"{begin}{word}{node.id}", node
    below = [
        *(("needs ", one) for one in node.upstream),
        *(("", one) for one in node.children),
        *(("then ", one) for one in node.dependents),
    ]
    for at, (kind, one) in enumerate(below, 1):
        last = at == len(below)
        yield from _lines(one, inner + ("└─ " if last else "├─ "), kind, inner + ("   " if last else "│  "))
