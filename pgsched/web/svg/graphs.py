"""The graph of a workflow: dependencies in, places and markup out."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from pgsched.domain.task_tree import TaskNode
from pgsched.web.formats import span
from pgsched.web.svg import element

MAX_READ = 5_000
"""Maximum number of tasks in a graph; similar tasks are drawn as one."""
MAX_SHOWN = 300
"""Maximum number of boxes; more would not be readable."""
SMALLEST_FOLD = 5
"""Number of similar tasks from which they share a box."""
_ROUNDS = 3
_WORST = ("dead", "running", "pending", "blocked", "cancelled", "completed")
_WIDE, _HIGH, _GAP_X, _GAP_Y = 170, 48, 60, 16
_ARROW = Markup(
    '<defs><marker id="arrow" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
    '<path class="arrow" d="M0 0 L8 4 L0 8 z"/></marker></defs>'
)

Edge = tuple[int, int]
"""The dependency, and the dependent."""


@dataclass(frozen=True, kw_only=True)
class Node:
    """One box of a graph: a task, or several similar ones."""

    id: int
    """Of several tasks the smallest."""
    label: str
    status: str
    detail: str
    kind: str = ""
    """The type."""
    members: tuple[int, ...] = ()
    """The ids of several tasks; empty for a single one."""


def nodes_of(tree: TaskNode) -> tuple[list[Node], list[Edge], bool]:
    """Return the tasks of a tree, their edges (dependency, dependent), and whether some are left out."""
    found: dict[int, Node] = {}
    edges: set[Edge] = set()
    cut = False
    left = deque([tree])
    while left:
        one = left.popleft()
        cut = cut or one.cut
        if len(found) >= MAX_READ:
            cut = True
            break
        took = "" if one.duration is None else f" {span(one.duration)}"
        found[one.id] = Node(
            id=one.id,
            label=one.name or one.task_type,
            status=one.status,
            detail=f"#{one.id} {one.status}{took}",
            kind=one.task_type,
        )
        edges |= {(upstream, one.id) for upstream in one.depends_on}
        if not any(child.depends_on for child in one.children):
            edges |= {(child.id, one.id) for child in one.children}
        else:
            waited_for = {up for child in one.children for up in child.depends_on}
            edges |= {(child.id, one.id) for child in one.children if child.id not in waited_for}
        left += [*one.children, *one.upstream, *one.dependents]
    return list(found.values()), sorted(edge for edge in edges if set(edge) <= found.keys()), cut


def fold(nodes: Sequence[Node], edges: Sequence[Edge], opened: Collection[int]) -> tuple[list[Node], list[Edge]]:
    """Return the graph with similar tasks as one box each, except for those in ``opened``.

    Similar tasks are those of one type in one column whose neighbours, and theirs, are of the same types; dead tasks
    are kept apart.
    """
    column, wanted = columns_of((node.id for node in nodes), edges), frozenset(opened)
    around: dict[int, list[tuple[bool, int]]] = defaultdict(list)
    for above, below in edges:
        around[above].append((True, below))
        around[below].append((False, above))
    colours: dict[int, object] = {node.id: (column[node.id], node.kind, node.status == "dead") for node in nodes}
    for _ in range(_ROUNDS):
        known: dict[object, int] = {}
        colours = {
            id: known.setdefault((colour, frozenset((way, colours[other]) for way, other in around[id])), len(known))
            for id, colour in colours.items()
        }
    alike: dict[object, list[Node]] = defaultdict(list)
    for node in nodes:
        alike[colours[node.id]].append(node)
    stands_for: dict[int, int] = {}
    boxes: dict[int, Node] = {}
    for members in alike.values():
        first = min(member.id for member in members)
        folded = len(members) >= SMALLEST_FOLD and wanted.isdisjoint(member.id for member in members)
        for member in members:
            stands_for[member.id] = first if folded else member.id
            boxes.setdefault(stands_for[member.id], member)
        if folded:
            boxes[first] = _folded(first, members)
    crossing = {(stands_for[above], stands_for[below]) for above, below in edges}
    return list(boxes.values()), sorted(edge for edge in crossing if edge[0] != edge[1])


def _folded(first: int, members: Sequence[Node]) -> Node:
    counted = {status: sum(one.status == status for one in members) for status in _WORST}
    worst = next((status for status in _WORST if counted[status]), members[0].status)
    told = ", ".join(f"{number} {status}" for status, number in counted.items() if number)
    label = f"{members[0].kind} × {len(members):,}"
    return Node(
        id=first,
        label=label,
        status=worst,
        detail=told,
        kind=members[0].kind,
        members=tuple(sorted(one.id for one in members)),
    )


def columns_of(ids: Iterable[int], edges: Iterable[Edge]) -> dict[int, int]:
    """Return the column of each task: one more than the last of its dependencies. A cycle is cut somewhere."""
    column = dict.fromkeys(ids, 0)
    waits = dict.fromkeys(column, 0)
    after: dict[int, list[int]] = defaultdict(list)
    for above, below in edges:
        after[above].append(below)
        waits[below] += 1
    ready = deque(id for id, number in waits.items() if not number)
    while ready:
        one = ready.popleft()
        for below in after[one]:
            column[below] = max(column[below], column[one] + 1)
            waits[below] -= 1
            if not waits[below]:
                ready.append(below)
    return column


def draw(title: str, nodes: Sequence[Node], edges: Sequence[Edge], links: Mapping[int, str]) -> Markup:
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
        box = {"width": _WIDE, "height": _HIGH, "rx": 6}
        behind = [element("rect", css="node node-behind", x=x + 4, y=y + 4, **box)] if node.members else []
        parts.append(
            element(
                "a",
                element("title", f"{node.label} {node.detail}{'; open it' if node.members else ''}"),
                *behind,
                element("rect", css=f"node node-{node.status}", x=x, y=y, **box),
                element("text", _cut(node.label), css="node-label", x=x + 10, y=y + 20),
                element("text", _cut(node.detail, 26), css="node-detail", x=x + 10, y=y + 38),
                href=links[node.id],
            )
        )
    box_of_all = f"0 0 {wide} {high}"
    return element(
        "svg", *parts, css="graph", viewBox=box_of_all, width=wide, height=high, role="group", aria_label=title
    )


def _cut(text: str, longest: int = 20) -> str:
    return text if len(text) <= longest else text[: longest - 1] + "…"
