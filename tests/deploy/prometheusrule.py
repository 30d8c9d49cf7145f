"""The alert rules as the Prometheus operator takes them: made from those of Prometheus itself.

``make docs`` runs it as a program, which writes deploy/kubernetes/components/monitoring/prometheusrule.yaml.
"""

from __future__ import annotations

from tests.deploy.parts import DEPLOY

SOURCE = DEPLOY / "prometheus" / "pgsched.rules.yml"
TARGET = DEPLOY / "kubernetes" / "components" / "monitoring" / "prometheusrule.yaml"
HEAD = """\
# Made from deploy/prometheus/pgsched.rules.yml by `make docs`. A change belongs there.
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
    source = SOURCE.read_text()
    groups = source[source.index("\ngroups:") + 1 :]
    return HEAD + "".join(f"  {line}\n" if line.strip() else "\n" for line in groups.splitlines())


if __name__ == "__main__":
    TARGET.write_text(render())
