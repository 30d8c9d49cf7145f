"""pgsched in a Django project: an app for ``INSTALLED_APPS``, a backend for ``TASKS``, commands for ``manage.py``."""
