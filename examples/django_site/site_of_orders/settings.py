"""Settings of the site. libpq's PG* variables select the database."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "site_of_orders.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

INSTALLED_APPS = [
    "django_tasks",  # not needed from Django 6.0, which includes tasks
    "pgsched.integrations.django",
    "orders",
]

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": os.environ.get("PGDATABASE", "orders"),
        "USER": os.environ.get("PGUSER", ""),
        "HOST": os.environ.get("PGHOST", ""),
        "PORT": os.environ.get("PGPORT", ""),
    }
}

TASKS = {
    "default": {
        "BACKEND": "pgsched.integrations.django.backend.PgschedBackend",
        "QUEUES": ["default", "mail"],
        "OPTIONS": {"max_attempts": 2, "backoff_delay": "100ms"},
    }
}

PGSCHED = {
    "APP": "orders.jobs:app",  # handlers in addition to the tasks
    "MIGRATE": True,  # `manage.py migrate` also migrates the schema pgsched
}
