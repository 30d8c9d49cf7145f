"""Odd shapes at a small size; the sizes of docs/shapes.md are run by ``python -m chaos.shapes``."""

from __future__ import annotations

import time

from chaos.shapes import SHAPES, table
from chaos.shapes.changes import DeadLetters
from chaos.shapes.children import JoinOfMany
from chaos.shapes.model import OddShape, Row, Window
from chaos.shapes.stage import Stage, run_shape
from tests.support.servers import fresh_database


def test_a_small_shape_ends_as_it_should(server_dsn: str) -> None:
    with fresh_database(server_dsn, "shape_join") as dsn:
        row = run_shape(JoinOfMany(), 40, dsn=dsn, quiet_seconds=0.3)
    assert [one for one in row.broken if " takes " not in one] == []  # the time of a page depends on the machine
    assert row.before.rate > 0
    assert row.after.rate > 0


class Incomplete(DeadLetters):
    """Retries only a part."""

    def run(self, stage: Stage, size: int) -> None:
        stage.command("dead", "retry", "--type", "nap", "--yes")
        time.sleep(0.1)


def test_a_shape_that_leaves_something_out_is_noticed(server_dsn: str) -> None:
    with fresh_database(server_dsn, "shape_incomplete") as dsn:
        row = run_shape(Incomplete(), 20, dsn=dsn, quiet_seconds=0.3)
    assert "2 tasks wait to run again, not 20" in row.broken


def test_every_shape_is_described_and_has_a_size() -> None:
    for name, shape in SHAPES.items():
        assert issubclass(shape, OddShape)
        assert name == shape.name
        assert shape.does.endswith(".")
        assert shape.size >= shape.least


def test_the_table_has_a_row_for_each_shape() -> None:
    rows = [
        Row(shape=name, size=shape.size, seconds=2.0, before=Window(rate=40.0, p50=3.0, p99=9.0))
        for name, shape in SHAPES.items()
    ]
    run = table.Run(measured="today", machine={"cpu": "one", "postgresql": "18", "python": "3"}, rows=rows)
    lines = table.for_docs(run, SHAPES).splitlines()
    assert "| `join-of-many` | 100,000 dependencies | 2.0 s | 50,000/s |" in "\n".join(lines)
    assert sum(line.startswith("| `") for line in lines) == len(SHAPES)
