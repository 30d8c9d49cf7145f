"""deploy/grafana/dashboards/pgsched.json, as its tests and the picture of the documentation read it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from tests.support.processes import CHECKOUT

FILE = CHECKOUT / "deploy" / "grafana" / "dashboards" / "pgsched.json"


@dataclass(frozen=True, kw_only=True)
class Query:
    """One query of a panel."""

    panel: str
    expression: str
    legend: str


@dataclass(frozen=True, kw_only=True)
class Dashboard:
    """What the file says."""

    raw: dict[str, Any]

    @classmethod
    def read(cls) -> Self:
        """Read the file."""
        return cls(raw=json.loads(FILE.read_text(encoding="utf-8")))

    @property
    def panels(self) -> list[dict[str, Any]]:
        """Every panel but the headings of rows."""
        return [panel for panel in self.raw["panels"] if panel["type"] != "row"]

    @property
    def queries(self) -> list[Query]:
        """Every query."""
        return [
            Query(panel=panel["title"], expression=target["expr"], legend=target["legendFormat"])
            for panel in self.panels
            for target in panel["targets"]
        ]

    @property
    def choices(self) -> dict[str, tuple[str, str]]:
        """Label and selector of each variable that is asked of Prometheus, by its name."""
        found = {}
        for variable in self.raw["templating"]["list"]:
            if variable["type"] == "query":
                match = re.fullmatch(r"label_values\((.+), (\w+)\)", variable["definition"])
                assert match, variable["definition"]
                found[variable["name"]] = (match[2], match[1])
        return found


def substituted(text: str, values: Mapping[str, str]) -> str:
    """Put the variables in, as Grafana does; one that has no value is an error."""
    filled = re.sub(r"\$(\w+)", lambda match: values[match[1]], text)
    assert "$" not in filled
    return filled
