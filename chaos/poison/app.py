"""The handlers of the poison trial: those of the steady load, and one for each kind."""

from __future__ import annotations

from chaos.load.app import app
from chaos.poison.kinds import KINDS
from chaos.poison.process import blocking_hook, failing_hook

__all__ = ["app"]

for kind in KINDS.values():
    app.task(kind.task_type, **kind.options)(kind.handler)
for event in ("started", "completed"):
    app.on(event)(failing_hook)
    app.on(event)(blocking_hook)
