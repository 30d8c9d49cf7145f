"""The options of ``pgsched web`` for a login by an identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgsched.cli.options import option_group, program_option

if TYPE_CHECKING:
    from pgsched.web.auth.oidc_settings import OidcSettings

NO_OIDC = "the login by an identity provider is not installed: pip install 'pgsched[oidc]'"

oidc_options = option_group(
    program_option("--oidc-issuer", metavar="URL", help="Let people log in through this OpenID Connect provider."),
    program_option("--oidc-client-id", metavar="ID", help="The client id that is registered with the provider."),
    program_option(
        "--oidc-client-secret", metavar="SECRET", help="The client secret. Prefer PGSCHED_OIDC_CLIENT_SECRET."
    ),
    program_option(
        "--oidc-roles-claim",
        metavar="CLAIM",
        default="groups",
        show_default=True,
        help="The claim that holds roles or groups; a nested one as realm_access.roles.",
    ),
    program_option(
        "--oidc-operator", metavar="VALUES", default="", help="The claim's values for operators, separated by commas."
    ),
    program_option(
        "--oidc-viewer",
        metavar="VALUES",
        default="",
        help="The claim's values for viewers, separated by commas; * for everybody who logs in.",
    ),
    program_option(
        "--oidc-name-claim",
        metavar="CLAIM",
        default="",
        help="The claim whose value names people in the audit log.  [default: preferred_username, email, name or sub]",
    ),
    program_option(
        "--oidc-scopes",
        metavar="WORDS",
        default="openid profile email",
        show_default=True,
        help="Scopes to ask for.",
    ),
    program_option(
        "--public-url",
        metavar="URL",
        default="",
        help="The URL at which people open the dashboard; required for the login.",
    ),
)


def oidc_settings(given: dict[str, Any]) -> OidcSettings | None:
    """Remove the provider's options from the given ones and return them; None if no provider is given."""
    from pgsched.web.auth.oidc_settings import OidcSettings  # imported late: help needs no web face

    mine = {name.removeprefix("oidc_"): given.pop(name) for name in list(given) if name.startswith("oidc_")}
    mine["public_url"] = given.pop("public_url")
    if not (mine["issuer"] or mine["client_id"] or mine["client_secret"]):
        return None
    for name in ("operator", "viewer"):
        mine[name] = [value.strip() for value in mine[name].split(",") if value.strip()]
    return OidcSettings(**mine)
