"""The generated pages by their names, and how each is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.support.processes import CHECKOUT
from tools.docs.cli_page import cli_page
from tools.docs.python_page import python_page
from tools.docs.sql_page import sql_page

FOLDER: Final = CHECKOUT / "docs"
OF_THE_PROGRAM: Final[dict[str, Callable[[], str]]] = {
    "reference_cli.md": cli_page,
    "reference_python.md": python_page,
}
"""Written without a database."""
OF_THE_SCHEMA: Final[dict[str, Callable[[str], str]]] = {"reference_sql.md": sql_page}
"""Written from a migrated database, of which they get the DSN."""
