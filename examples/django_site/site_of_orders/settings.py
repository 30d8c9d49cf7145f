"""Settings of the site. The database is configured by libpq's environment variables."""

import os

SECRET_KEY = os.environ.get("SECRET_KEY", "for development only")
ALLOWED_HOSTS = ["localhost", "127.0.0.1"]
ROOT_URLCONF = "site_of_orders.urls"
USE_TZ = True
TIME_ZONE = "UTC"
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"

INSTALLED_APPS = [
    "django_tasks",  # not from Django 6.0 on, which has tasks of its own
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
    "APP": "orders.jobs:app",  # handlers beside the tasks
    "MIGRATE": True,  # `manage.py migrate` also creates the schema pgsched
}
