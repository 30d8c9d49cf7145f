"""``pgsched view``: saved searches of tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from pgsched.cli.options import confirm, examples, name_argument, yes_option
from pgsched.cli.output import say_done
from pgsched.cli.session import lists, pass_client

if TYPE_CHECKING:
    from pgsched.client.client import Client
    from pgsched.domain.saved_views import SavedView


@click.group()
def view() -> None:
    """Manage saved views: named searches of tasks.

    Everyone with access to the database can use them.
    """


@view.command("list")
@lists({"VIEW": "name", "QUERY": "query", "SAVED BY": "saved_by", "SAVED": "saved_at"}, empty="no views")
def list_(client: Client) -> list[SavedView]:
    """List the saved views; give the query of one to --where."""
    return client.views()


@view.command("set", epilog=examples('pgsched view set dead-bills "type:bill status:dead ended_after:24h"'))
@name_argument
@click.argument("query", metavar="TERMS")
@pass_client
def set_(client: Client, name: str, query: str) -> None:
    """Save a view or replace its query. TERMS are in the language of searches: see docs/search.md."""
    say_done(f"view {name}: {client.set_view(name, query)}")


@view.command()
@name_argument
@yes_option
@pass_client
def delete(client: Client, name: str, yes: bool) -> None:
    """Delete a saved view; its tasks are kept."""
    confirm(f"Delete the view {name}?", yes=yes)
    client.delete_view(name)
    say_done(f"view {name}: deleted")
