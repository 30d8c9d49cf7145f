"""``manage.py pgsched …``: any pgsched command, on the project's database."""

from __future__ import annotations

from pgsched.integrations.django.management.passing import PassingCommand


class Command(PassingCommand):
    """As ``pgsched``."""

    help = "Runs any pgsched command on the project's database, for example: pgsched task list"
