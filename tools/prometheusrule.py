"""The alert rules of deploy/: the output of ``pgsched alerts``, and the same rules for the Prometheus operator.

``make docs`` runs this program, which writes deploy/prometheus/pgsched.rules.yml and
deploy/kubernetes/components/monitoring/prometheusrule.yaml.
"""

from __future__ import annotations

from pgsched.ops.alerts import Thresholds, rules
from tests.deploy.parts import DEPLOY

SOURCE = DEPLOY / "prometheus" / "pgsched.rules.yml"
TARGET = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = """\
# The output of `pgsched alerts` as a PrometheusRule, written by `make docs`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: pgsched
  labels:
    app.kubernetes.io/name: pgsched
spec:
"""


def render() -> str:
    """The text of the manifest."""
    source = rules(Thresholds())
    groups = source[source.index("\ngroups:") + 1 :]
    return HEAD + "".join(f"  {line}\n" if line.strip() else "\n" for line in groups.splitlines())


if __name__ == "__main__":
    SOURCE.write_text(rules(Thresholds()))
    TARGET.write_text(render())
