"""The dashboard and the REST API. Needs the extra ``web``."""

from __future__ import annotations

from pgsched.web.app import create_app
from pgsched.web.auth.oidc_settings import OidcSettings
from pgsched.web.settings import WebSettings
from pgsched.web.site import Site, create_site

__all__ = ["OidcSettings", "Site", "WebSettings", "create_app", "create_site"]
