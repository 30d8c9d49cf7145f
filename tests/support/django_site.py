"""The example's Django site in the test's own process: set up once, its connection led to each test's database."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import django
from django.conf import settings
from psycopg.conninfo import conninfo_to_dict

from tests.support.processes import CHECKOUT

SITE = CHECKOUT / "examples" / "django_site"


def variables_of(dsn: str) -> Mapping[str, str]:
    """libpq's variables for a DSN, and those that let a process find the site."""
    place = conninfo_to_dict(dsn)
    names = {"PGHOST": "host", "PGPORT": "port", "PGUSER": "user", "PGDATABASE": "dbname"}
    return {
        **{name: str(place[part]) for name, part in names.items()},
        "DJANGO_SETTINGS_MODULE": "site_of_orders.settings",
        "PYTHONPATH": os.pathsep.join([str(CHECKOUT), str(SITE)]),
    }


def set_up() -> None:
    """Set Django up, once a process."""
    if not settings.configured:
        sys.path.insert(0, str(SITE))
        os.environ["DJANGO_SETTINGS_MODULE"] = "site_of_orders.settings"
        django.setup()
        del os.environ["DJANGO_SETTINGS_MODULE"]


@contextmanager
def site_on(dsn: str) -> Iterator[None]:
    """Lead Django's connection to a database, in which the tables of the site are made."""
    set_up()
    from django.db import connections
    from orders.models import Order

    place = conninfo_to_dict(dsn)
    given = {"NAME": "dbname", "HOST": "host", "PORT": "port", "USER": "user"}
    connections.close_all()
    connections["default"].settings_dict.update({name: str(place[part]) for name, part in given.items()})
    try:
        with connections["default"].schema_editor() as editor:
            editor.create_model(Order)
        yield
    finally:
        connections.close_all()
