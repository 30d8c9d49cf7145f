# Generated from async_views.py by `make sync`: change that file instead.
"""Client methods for saved views: searches for tasks that are saved under a name."""

from __future__ import annotations

from pgsched.db.database import Database
from pgsched.db.queries import saved_views
from pgsched.domain.errors import ViewNotFound
from pgsched.domain.saved_views import SavedView


class ViewClient:
    """The part of :class:`pgsched.Client`."""

    _database: Database

    def views(self) -> list[SavedView]:
        """Return every saved view, by name."""
        return self._database.run(saved_views.list_views())

    def view(self, name: str) -> SavedView:
        """Return a saved view: its ``query`` is a filter for lists. Raises ViewNotFound."""
        found = self._database.run(saved_views.list_views(name))
        if not found:
            raise ViewNotFound(f"view {name} does not exist")
        return found[0]

    def set_view(self, name: str, query: str, *, saved_by: str | None = None) -> str:
        """Save a view for all users of this database, or replace its query; return ``created`` or ``replaced``.

        ``query`` has terms of the search language. ``saved_by`` defaults to the database role. Raises InvalidTask,
        naming the term and the rule.
        """
        return self._database.run(saved_views.set_view(name, query, saved_by))

    def delete_view(self, name: str) -> None:
        """Delete a saved view. Raises ViewNotFound."""
        self._database.run(saved_views.delete_view(name))
