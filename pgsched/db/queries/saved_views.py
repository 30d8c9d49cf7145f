"""Commands about saved views. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from pgsched.db.query import Command, Rows, command, rows_as
from pgsched.domain.errors import ViewNotFound
from pgsched.domain.saved_views import SavedView, checked_view_name, checked_view_query
from pgsched.domain.validation import optional, text_of

_actor = text_of(200)


def list_views(name: str | None = None) -> Command[list[SavedView]]:
    """Read every view, or the one with this name."""
    return command("list_saved_views", rows_as(SavedView), name=None if name is None else checked_view_name(name))


def set_view(name: str, query: str, saved_by: str | None) -> Command[str]:
    """Save a view or replace its query; returns ``created`` or ``replaced``. Raises InvalidTask."""
    params = {
        "name": checked_view_name(name),
        "query": checked_view_query(query),
        "saved_by": optional(_actor)("saved_by", saved_by),
    }
    return command("set_saved_view", lambda rows: str(rows[0]["outcome"]), **params)


def delete_view(name: str) -> Command[None]:
    """Delete a view. Raises ViewNotFound."""

    def parse(rows: Rows) -> None:
        if not rows[0]["changed"]:
            raise ViewNotFound(f"view {name} does not exist")

    return command("delete_saved_view", parse, name=checked_view_name(name))
