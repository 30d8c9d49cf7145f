"""For an ASGI server: ``uvicorn site_of_orders.asgi:application``."""

import os

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "site_of_orders.settings")
application = get_asgi_application()
