"""``manage.py pgsched_migrate``: the schema ``pgsched`` in the project's database."""

from __future__ import annotations

from pgsched.integrations.django.management.passing import PassingCommand


class Command(PassingCommand):
    """Like ``pgsched migrate``."""

    help = "Migrates the schema pgsched of the project's database to this version"
    words = ("migrate",)
