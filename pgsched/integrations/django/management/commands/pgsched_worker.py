"""``manage.py pgsched_worker``: a worker that runs the project's tasks and handlers."""

from __future__ import annotations

from pgsched.integrations.django.management.passing import PassingCommand
from pgsched.integrations.django.registered import queues

APP = "pgsched.integrations.django.worker:app"


class Command(PassingCommand):
    """Like ``pgsched worker``; without ``--queue`` it serves the queues of the task backends."""

    help = "Runs a worker for the project's tasks until SIGTERM or Ctrl-C"
    words = ("worker", "--app", APP)

    def pass_on(self, arguments: list[str]) -> int:
        """Serve the queues of the backends unless the arguments name others."""
        if not any(one == "--queue" or one.startswith("--queue=") for one in arguments):
            arguments = [*(word for name in queues() for word in ("--queue", name)), *arguments]
        return super().pass_on(arguments)
