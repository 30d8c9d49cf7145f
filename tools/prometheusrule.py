"""The alert rules of deploy/: those that ``pgsched alerts`` prints, for Prometheus and for the chart.

``make docs`` runs it as a program. The chart can read only files of its own folder, so it has a copy.
"""

from __future__ import annotations

from pgsched.ops.alerts import Thresholds, rules
from tests.deploy.parts import DEPLOY

TARGETS = (DEPLOY / "prometheus" / "pgsched.rules.yml", DEPLOY / "helm" / "pgsched" / "files" / "pgsched.rules.yml")

if __name__ == "__main__":
    for target in TARGETS:
        target.write_text(rules(Thresholds()))
