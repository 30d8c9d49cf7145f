"""Handlers whose payload is a pydantic model, against untyped ones with the same payload."""

from __future__ import annotations

from benchmarks.model import Case, Side, Sizes, at_least


def case(sizes: Sizes) -> Case:
    given = {"tasks": sizes.tasks, "concurrency": 100, "payload": {"order": ORDER}}
    return Case(
        name="typed",
        title=f"drain {sizes.tasks:,} async tasks whose payload is a model",
        metrics={"per_second": "tasks/s"},
        sides=(
            Side(name="pgsched", program="ours", arguments={**given, "handler": "typed"}, does="one pydantic model"),
            Side(name="untyped", program="ours", arguments={**given, "handler": "untyped"}, does="the same as a dict"),
        ),
        targets=(at_least(0.9, "untyped"),),
    )


ORDER = {"number": 4711, "placed": "2030-01-31T12:00:00Z", "total": "19.90", "customer": "ada@example.com"}
