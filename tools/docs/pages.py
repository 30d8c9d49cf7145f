"""The generated pages by name, with the function that writes each."""

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
"""Pages that need no database."""
OF_THE_SCHEMA: Final[dict[str, Callable[[str], str]]] = {"reference_sql.md": sql_page}
"""Pages that describe a migrated database, whose DSN they get."""
