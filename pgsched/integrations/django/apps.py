"""The app that ``INSTALLED_APPS`` names."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.db.models.signals import post_migrate

from pgsched.db.migrations.runner import migrate
from pgsched.integrations.django.conf import dsn_of, project_settings


class PgschedConfig(AppConfig):
    """Provides the commands, and migrates the schema if the settings say so."""

    name = "pgsched.integrations.django"
    label = "pgsched"
    verbose_name = "pgsched"

    def ready(self) -> None:
        """Validate the settings, and follow Django's migrations if configured."""
        if project_settings().migrate:
            post_migrate.connect(_migrate, sender=self, dispatch_uid="pgsched")


def _migrate(using: str, **_rest: Any) -> None:
    if using == project_settings().database:
        migrate(dsn_of(using))
