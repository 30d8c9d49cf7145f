"""``pgsched worker --app pgsched.integrations.django.worker:app``: what ``manage.py pgsched_worker`` runs.

Sets Django up, by ``DJANGO_SETTINGS_MODULE``: the child processes of a worker import this module too.
"""

from __future__ import annotations

import django

from pgsched.integrations.django.running import worker_app

django.setup()

app = worker_app()
