"""The options of ``pgsched web`` for a login by an identity provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pgsched.cli.options import option_group, program_option

if TYPE_CHECKING:
    from pgsched.web.auth.oidc_settings import OidcSettings

NO_OIDC = "the login by an identity provider is not installed: pip install 'pgsched[oidc]'"

oidc_options = option_group(
    program_option("--oidc-issuer", metavar="URL", help="Let people log in at this OpenID Connect provider."),
    program_option("--oidc-client-id", metavar="ID", help="The client id that is registered there."),
    program_option("--oidc-client-secret", metavar="SECRET", help="Better set as PGSCHED_OIDC_CLIENT_SECRET."),
    program_option(
        "--oidc-roles-claim",
        metavar="CLAIM",
        default="groups",
        show_default=True,
        help="The claim that holds roles or groups, nested as realm_access.roles.",
    ),
    program_option(
        "--oidc-operator", metavar="VALUES", default="", help="Its values for operators, separated by commas."
    ),
    program_option(
        "--oidc-viewer",
        metavar="VALUES",
        default="",
        help="Its values for viewers; * for everybody who logs in there.",
    ),
    program_option(
        "--oidc-name-claim",
        metavar="CLAIM",
        default="",
        help="The claim that the audit log names people by.  [default: preferred_username, email, name or sub]",
    ),
    program_option(
        "--oidc-scopes",
        metavar="WORDS",
        default="openid profile email",
        show_default=True,
        help="Scopes to ask for.",
    ),
    program_option(
        "--public-url", metavar="URL", default="", help="Where people reach the web face; the login needs it."
    ),
)


def oidc_settings(given: dict[str, Any]) -> OidcSettings | None:
    """Take the options of the provider out of those that were given; None: no provider."""
    from pgsched.web.auth.oidc_settings import OidcSettings  # imported late: help needs no web face

    mine = {name.removeprefix("oidc_"): given.pop(name) for name in list(given) if name.startswith("oidc_")}
    mine["public_url"] = given.pop("public_url")
    if not (mine["issuer"] or mine["client_id"] or mine["client_secret"]):
        return None
    for name in ("operator", "viewer"):
        mine[name] = [value.strip() for value in mine[name].split(",") if value.strip()]
    return OidcSettings(**mine)
