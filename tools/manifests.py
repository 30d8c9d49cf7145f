"""deploy/kubernetes/pgsched.yaml: what the chart makes of its own values, for clusters that are served without Helm.

``make docs`` runs it as a program.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.deploy.parts import DEPLOY

CHART = DEPLOY / "helm" / "pgsched"
TARGET = DEPLOY / "kubernetes" / "pgsched.yaml"
HEAD = """\
# The chart deploy/helm/pgsched with its default values, written by `make docs`: kubectl -n pgsched apply -f FILE
# The Job does not come first here. Delete the one of the release before, and wait for the new one (docs/deploy.md).
"""


def render(helm: str) -> str:
    """Return the text of the manifest."""
    command = [helm, "template", "pgsched", str(CHART), "--namespace", "pgsched", "--kube-version", "1.32.0"]
    return HEAD + subprocess.run(command, capture_output=True, text=True, check=True).stdout


if __name__ == "__main__":
    helm = shutil.which("helm") or str(Path(sys.executable).with_name("helm"))
    if not Path(helm).exists():
        sys.exit("tools.manifests needs helm: sh tests/deploy/install-helm.sh .venv/bin")
    TARGET.write_text(render(helm))
