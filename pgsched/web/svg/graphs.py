"""The graph of a workflow: who waits for whom in, places and markup out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pgsched.domain.task_tree import TaskNode
from pgsched.web.svg import element

MAX_SHOWN = 300
"""So many tasks are drawn; more is no picture any more."""
_WIDE, _HIGH, _GAP_X, _GAP_Y = 170, 48, 60, 16
_ARROW = Markup(
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="arrow" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)


@dataclass(frozen=True, kw_only=True)
class Node:
    """One task of a graph."""

    id: int
    label: str
    status: str
    detail: str


def nodes_of(tree: TaskNode) -> tuple[list[Node], list[tuple[int, int]], bool]:
    """Return the tasks of a tree, their edges (who is waited for, who waits), and whether some are left out."""
    found: dict[int, Node] = {}
    edges: set[tuple[int, int]] = set()
    cut = False
    left = [tree]
    while left:
        one = left.pop(0)
        cut = cut or one.cut
        if len(found) >= MAX_SHOWN:
            cut = True
            break
        took = "" if one.duration is None else f" {one.duration:.3g} s"
        found[one.id] = Node(
            id=one.id, label=one.name or one.task_type, status=one.status, detail=f"#{one.id} {one.status}{took}"
        )
        edges |= {(upstream, one.id) for upstream in one.depends_on}
        if not any(child.depends_on for child in one.children):
            edges |= {(child.id, one.id) for child in one.children}
        else:
            waited_for = {up for child in one.children for up in child.depends_on}
            edges |= {(child.id, one.id) for child in one.children if child.id not in waited_for}
        left += [*one.children, *one.upstream, *one.dependents]
    return list(found.values()), sorted(edge for edge in edges if set(edge) <= found.keys()), cut


def columns_of(ids: Iterable[int], edges: Iterable[tuple[int, int]]) -> dict[int, int]:
    """Return the column of each task: one more than the last of those that it waits for. A circle ends somewhere."""
    column = dict.fromkeys(ids, 0)
    pairs = list(edges)
    for _ in range(len(column)):
        moved = False
        for above, below in pairs:
            if column[below] <= column[above] < len(column) - 1:
                column[below], moved = column[above] + 1, True
        if not moved:
            break
    return column


def draw(title: str, nodes: Sequence[Node], edges: Sequence[tuple[int, int]], links: Mapping[int, str]) -> Markup:
    """Return the graph, from left to right; each task is a link and coloured by its status."""
    column = columns_of((node.id for node in nodes), edges)
    filled: dict[int, int] = {}
    place: dict[int, tuple[int, int]] = {}
    for node in nodes:
        row = filled.get(column[node.id], 0)
        filled[column[node.id]] = row + 1
        place[node.id] = (column[node.id] * (_WIDE + _GAP_X) + 4, row * (_HIGH + _GAP_Y) + 4)
    wide = (max(filled, default=0) + 1) * (_WIDE + _GAP_X) - _GAP_X + 8
    high = max(filled.values(), default=1) * (_HIGH + _GAP_Y) - _GAP_Y + 8
    parts = [_ARROW]
    for above, below in edges:
        (x1, y1), (x2, y2) = place[above], place[below]
        x1, y1, y2 = x1 + _WIDE, y1 + _HIGH // 2, y2 + _HIGH // 2
        bend = max((x2 - x1) // 2, 20)
        line = f"M{x1} {y1} C{x1 + bend} {y1} {x2 - bend} {y2} {x2} {y2}"
        parts.append(element("path", css="edge", marker_end="url(#arrow)", d=line))
    for node in nodes:
        x, y = place[node.id]
        parts.append(
            element(
                "a",
                element("title", f"{node.label} {node.detail}"),
                element("rect", css=f"node node-{node.status}", x=x, y=y, width=_WIDE, height=_HIGH, rx=6),
                element("text", _cut(node.label), css="node-label", x=x + 10, y=y + 20),
                element("text", _cut(node.detail, 26), css="node-detail", x=x + 10, y=y + 38),
                href=links[node.id],
            )
        )
    box = f"0 0 {wide} {high}"
    return element("svg", *parts, css="graph", viewBox=box, width=wide, height=high, role="group", aria_label=title)


def _cut(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
