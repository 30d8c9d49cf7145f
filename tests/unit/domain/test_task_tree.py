from __future__ import annotations

from typing import Any

from pgsched.domain.task_tree import MAX_DEPTH, MAX_NODES, TaskNode, tree_of


def row(kind: str, task_id: int, depends_on: list[int] | None = None, **columns: Any) -> dict[str, Any]:
    return {
        "kind": kind,
        "id": task_id,
        "task_name": None,
        "task_type": "mail",
        "status": "pending",
        "depends_on": depends_on or [],
        "parent_id": None,
        "duration": None,
        "last_error": None,
    } | columns


def made(*rows: dict[str, Any], root: int = 1) -> TaskNode:
    tree = tree_of(root, rows)
    assert tree is not None
    return tree


def shape(node: TaskNode) -> Any:
    """The ids below a node, by branch."""
    found = {
        branch: [shape(one) for one in getattr(node, branch)]
        for branch in ("children", "upstream", "dependents")
        if getattr(node, branch)
    }
    return {node.id: found} if found else node.id


def test_no_row_is_no_tree() -> None:
    assert tree_of(1, []) is None


def test_steps_are_nested_under_their_groups() -> None:
    rows = [
        row("self", 1),
        row("child", 3, [2], parent_id=1),
        row("child", 2, parent_id=1),
        row("child", 4, parent_id=2),
    ]
    assert shape(made(*rows)) == {1: {"children": [{2: {"children": [4]}}, 3]}}


def test_a_diamond_shows_each_task_once() -> None:
    rows = [row("self", 1, [2, 3]), row("up", 2, [4]), row("up", 3, [4]), row("up", 4)]
    tree = made(*rows)
    assert shape(tree) == {1: {"upstream": [{2: {"upstream": [4]}}, 3]}}
    assert tree.upstream[1].depends_on == [4]


def test_a_task_that_is_met_twice_is_shown_where_it_is_nearer() -> None:
    rows = [row("self", 1, [2, 3]), row("up", 2, [3]), row("up", 3)]
    assert shape(made(*rows)) == {1: {"upstream": [2, 3]}}


def test_dependents_are_nested_behind_one_another() -> None:
    rows = [row("self", 1), row("down", 2, [1]), row("down", 3, [2])]
    assert shape(made(*rows)) == {1: {"dependents": [{2: {"dependents": [3]}}]}}


def test_a_dependency_that_was_deleted_is_left_out() -> None:
    tree = made(row("self", 1, [7]))
    assert (shape(tree), tree.depends_on) == (1, [7])


def test_a_tree_that_is_too_wide_or_too_deep_is_cut_and_says_so() -> None:
    wide = [row("self", 1), *(row("child", n, parent_id=1) for n in range(2, MAX_NODES + 3))]
    tree = made(*wide)
    assert (len(tree.children), tree.cut) == (MAX_NODES - 1, True)
    assert not made(*wide[:MAX_NODES]).cut
    node = made(row("self", 1, [2]), *(row("up", n, [n + 1]) for n in range(2, 1_000)))
    depth = 1
    while node.upstream:
        (node,) = node.upstream
        depth += 1
    assert (depth, node.cut) == (MAX_DEPTH, True)


def test_a_tree_becomes_json() -> None:
    tree = made(
        row("self", 1, task_name="all", duration=1.5), row("child", 2, parent_id=1, status="dead", last_error="no")
    )
    step = {
        "id": 2,
        "name": None,
        "task_type": "mail",
        "status": "dead",
        "depends_on": [],
        "duration": None,
        "last_error": "no",
        "children": [],
        "upstream": [],
        "dependents": [],
        "cut": False,
    }
    assert tree.as_dict() == step | {
        "id": 1,
        "name": "all",
        "status": "pending",
        "duration": 1.5,
        "last_error": None,
        "children": [step],
    }
