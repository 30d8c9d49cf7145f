"""schedule_many, which validates and returns ids, against a COPY that does neither."""

from __future__ import annotations

from benchmarks.model import Bound, Case, Side, Sizes, Target


def case(sizes: Sizes) -> Case:
    return Case(
        name="bulk",
        title=f"schedule_many of {sizes.bulk:,}",
        metrics={"per_second": "rows/s"},
        sides=(
            Side(name="pgsched", program="bulk", arguments={"rows": sizes.bulk, "by": "client"}),
            Side(
                name="bare COPY",
                program="bulk",
                arguments={"rows": sizes.bulk, "by": "copy"},
                does="the same rows and table by psycopg, triggers off; no validation, no ids returned",
            ),
        ),
        targets=(
            Target(
                text="≥ 100,000/s or ≥ 0.6 × bare COPY",
                bounds=(
                    Bound(metric="per_second", at_least=100_000),
                    Bound(metric="per_second", at_least=0.6, against="bare COPY"),
                ),
            ),
        ),
    )
