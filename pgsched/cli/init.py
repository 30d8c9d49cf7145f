"""``pgsched init``: writes a small project to begin with."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import click

from pgsched.cli.options import examples
from pgsched.cli.output import say_done
from pgsched.domain.errors import PgschedError

FILES: Final = {
    "tasks.py": "tasks.py.txt",
    "test_tasks.py": "test_tasks.py.txt",
    "pyproject.toml": "pyproject.toml.txt",
    "compose.yaml": "compose.yaml.txt",
    "README.md": "README.md.txt",
    ".gitignore": "gitignore.txt",
}
"""The files of a new project, and their templates in the folder ``new_project``."""
NEXT_STEPS: Final = """
Next, in {folder}:

  pip install --editable '.[dev]'
  pgsched dev --app tasks:app

README.md has more, also with Docker."""


@click.command(epilog=examples("pgsched init shop && cd shop && pgsched dev --app tasks:app"))
@click.argument("folder", metavar="[DIR]", default=".", type=click.Path(file_okay=False, path_type=Path))
def init(folder: Path) -> None:
    """Write a small project to begin with.

    It has two tasks, their tests and a compose file with PostgreSQL. DIR is the current folder if left out, and is
    created if it does not exist. No file is overwritten: if one exists, nothing is written.
    """
    if existing := [name for name in FILES if (folder / name).exists() or (folder / name).is_symlink()]:
        raise PgschedError(f"{folder} already has {', '.join(existing)}: nothing was written")
    templates = Path(__file__).with_name("new_project")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, template in FILES.items():
            text = (templates / template).read_text(encoding="utf-8").replace("{{name}}", project_name(folder))
            with (folder / name).open("x", encoding="utf-8") as file:
                file.write(text)
            say_done(f"wrote {folder / name}")
    except OSError as error:
        raise PgschedError(f"cannot write the project to {folder}: {error.strerror or error}") from None
    say_done(NEXT_STEPS.format(folder=folder))


def project_name(folder: Path) -> str:
    """Return the name of the folder as the name of a Python project: letters, digits and single hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", folder.resolve().name.lower()).strip("-") or "tasks"
