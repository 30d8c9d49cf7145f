from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from xml.etree import ElementTree

import pytest

import pgsched.web
from pgsched.domain.task_tree import TaskNode
from pgsched.web.svg.charts import Series, Span, meter, round_up, short, stacked_bars, timeline
from pgsched.web.svg.graphs import MAX_READ, columns_of, draw, fold, nodes_of

HOUR = [datetime(2030, 1, 1, 8, tzinfo=UTC) + timedelta(minutes=at) for at in range(60)]
CSS = (Path(pgsched.web.__file__).parent / "static" / "app.css").read_text()


def node(id: int, *, depends_on: tuple[int, ...] = (), children: tuple[TaskNode, ...] = ()) -> TaskNode:
    return TaskNode(
        id=id,
        name=f"step <{id}>",
        task_type="mail",
        status="pending",
        depends_on=list(depends_on),
        duration=None,
        last_error=None,
        children=list(children),
        upstream=[],
        dependents=[],
        cut=False,
    )


def test_bars_are_as_high_as_their_values() -> None:
    values = [0.0] * 59 + [10.0]
    svg = ElementTree.fromstring(stacked_bars("t", HOUR, [Series(name="ok", css="bar-completed", values=values)]))
    bars = [one for one in svg.iter("rect") if one.get("class") == "bar-completed"]
    assert [float(one.get("height") or 0) for one in bars] == [160.0]
    assert "10 ok" in "".join(svg.itertext())


@pytest.mark.parametrize("numbers", [[], [0.0] * 60, [1e12] * 60])
def test_chart_of_odd_numbers_is_well_formed(numbers: list[float]) -> None:
    ElementTree.fromstring(stacked_bars("t", HOUR[: len(numbers)], [Series(name="a", css="x", values=numbers)]))


def test_pictures_escape_their_texts() -> None:
    text = '"><b>&'
    for svg in (
        stacked_bars(text, HOUR[:1], [Series(name=text, css="x", values=[1])]),
        timeline(text, [Span(label=text, css="x", start=0, end=0)]),
        meter(text, 1, 2),
    ):
        root = ElementTree.fromstring(svg)
        assert root.get("aria-label") == text
        assert not list(root.iter("b"))


@pytest.mark.parametrize(("value", "expected"), [(0, 1), (1, 1), (3, 5), (11, 20), (999, 1000), (1001, 2000)])
def test_axis_ends_at_a_round_number(value: float, expected: float) -> None:
    assert round_up(value) == expected


def test_numbers_are_short() -> None:
    assert [short(one) for one in (0, 950, 1500, 2_000_000)] == ["0", "950", "1.5k", "2M"]


def test_meter_is_full_at_the_most() -> None:
    assert 'width="100"' in meter("m", 20, 10)
    assert "meter-full" in meter("m", 20, 10)
    assert 'width="0"' in meter("m", 0, 0)


def test_task_stands_right_of_all_that_it_waits_for() -> None:
    assert columns_of([1, 2, 3, 4], [(1, 2), (2, 3), (1, 3), (3, 4)]) == {1: 0, 2: 1, 3: 2, 4: 3}


def test_circle_has_an_end() -> None:
    assert set(columns_of([1, 2], [(1, 2), (2, 1)])) == {1, 2}


def test_group_is_drawn_behind_its_last_steps() -> None:
    tree = node(1, children=(node(2), node(3, depends_on=(2,))))
    nodes, edges, cut = nodes_of(tree)
    assert ([one.id for one in nodes], edges, cut) == ([1, 2, 3], [(2, 3), (3, 1)], False)
    svg = ElementTree.fromstring(draw("t", nodes, edges, {1: "/a", 2: "/b", 3: "/c"}))
    assert "step <2>" in "".join(svg.itertext())


def test_graph_that_is_too_large_is_cut() -> None:
    nodes, _, cut = nodes_of(node(1, children=tuple(node(at) for at in range(2, MAX_READ + 50))))
    assert (len(nodes), cut) == (MAX_READ, True)


def test_tasks_that_are_alike_are_one_box_until_it_is_opened() -> None:
    steps = (*(node(at) for at in range(2, 12)), *(node(at + 10, depends_on=(at,)) for at in range(2, 12)))
    nodes, edges, _ = nodes_of(node(1, children=(*steps, node(30, depends_on=tuple(range(12, 22))))))
    boxes, between = fold(nodes, edges, ())
    assert sorted((box.id, len(box.members)) for box in boxes) == [(1, 0), (2, 10), (12, 10), (30, 0)]
    assert between == [(2, 12), (12, 30), (30, 1)]
    opened, _ = fold(nodes, edges, (5,))
    assert len(opened) == 13


def test_chain_of_one_type_is_not_folded() -> None:
    steps = (node(2), *(node(at, depends_on=(at - 1,)) for at in range(3, 30)))
    nodes, edges, _ = nodes_of(node(1, children=steps))
    assert len(fold(nodes, edges, ())[0]) == len(nodes)


# The palettes.


def palettes() -> list[dict[str, str]]:
    blocks = re.findall(r"color-scheme: (?:light|dark);([^}]*)\}", CSS)
    return [dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", block)) for block in blocks]


def brightness(color: str) -> float:
    """The relative luminance of WCAG 2."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    high, low = sorted((brightness(one), brightness(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


PAIRS = (
    *((text, back) for text in ("text", "soft", "link", "bad", "good") for back in ("back", "sheet")),
    *((one, f"{one}-back") for one in ("good", "bad", "odd", "busy", "wait", "cool", "still")),
    *(("text", f"{one}-back") for one in ("good", "bad", "odd", "busy", "wait", "cool", "still", "primary")),
    *((text, back) for text in ("text", "soft", "link", "bad") for back in ("raised", "hover", "primary-back")),
    *(("primary", back) for back in ("back", "sheet", "primary-back")),
    ("text", "button"),
    ("link", "busy-back"),
    ("bad", "busy-back"),
    ("soft", "busy-back"),
    ("on-primary", "primary"),
)


def test_there_are_three_palettes_and_the_dark_ones_agree() -> None:
    light, system, chosen = palettes()
    assert system == chosen != light
    assert set(light) == set(system)


@pytest.mark.parametrize(("text", "back"), PAIRS)
def test_text_has_contrast(text: str, back: str) -> None:
    for palette in palettes():
        assert contrast(palette[text], palette[back]) >= 4.5, (text, back, palette[text], palette[back])


def test_contrast_is_computed_as_by_wcag() -> None:
    assert contrast("#ffffff", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
