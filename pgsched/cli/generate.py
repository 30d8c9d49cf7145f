"""``pgsched generate``: typed clients for other languages, from the register of handlers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import click

from pgsched.cli.output import say
from pgsched.cli.session import Session
from pgsched.domain.errors import PgschedError

if TYPE_CHECKING:
    from pgsched.ops.generate.registered import TaskType

LANGUAGES = ("typescript", "go", "jsonschema")


@click.command()
@click.argument("language", type=click.Choice(LANGUAGES))
@click.option("--app", metavar="MODULE:APP", help="Use the handlers of this app.  [default: the database's register]")
@click.option("--output", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False), help="Write this file.")
@click.option("--package", metavar="NAME", default="tasks", show_default=True, help="The package, for go.")
@click.option("--check", is_flag=True, help="Write nothing; exit with 1 if the file is not up to date.")
@click.pass_obj
def generate(session: Session, language: str, app: str | None, output: Path | None, package: str, check: bool) -> None:
    """Write a typed client for another language.

    A TypeScript module, a Go file or JSON Schemas, to schedule the tasks of the register with. The same register gives
    the same text.
    """
    if check and output is None:
        raise click.UsageError("--check needs --output: the file to compare", click.get_current_context())
    if not re.fullmatch("[a-z][a-z0-9_]*", package):
        raise click.BadParameter(f"{package!r} is no name of a package", param_hint="--package")
    types = _types(session, app)
    if not types:
        raise PgschedError("no handlers are registered: pgsched sync --app MODULE:APP registers them, or give --app")
    text = _text(language, types, package)
    if output is None:
        say(text.removesuffix("\n"))
    elif check:
        if not output.exists() or output.read_text(encoding="utf-8") != text:
            raise PgschedError(f"{output} is not up to date: pgsched generate {language} --output {output}")
    else:
        output.write_text(text, encoding="utf-8")


def _types(session: Session, app: str | None) -> list[TaskType]:
    from pgsched.ops.generate.registered import of_entries, of_register  # imported late: others do not need it

    if app is None:
        from pgsched.client.client import Client

        with Client(session.dsn) as client:
            return of_register(client.handlers())
    from pgsched.app.loading import load_app
    from pgsched.worker.registration import entries

    return of_entries(entries(load_app(app).registry))


def _text(language: str, types: list[TaskType], package: str) -> str:
    from pgsched.db.migrations.runner import program_version
    from pgsched.ops.generate.go import go
    from pgsched.ops.generate.json_schema import json_schema
    from pgsched.ops.generate.typescript import typescript

    version = program_version()
    if language == "typescript":
        return typescript(types, version=version)
    return go(types, version=version, package=package) if language == "go" else json_schema(types, version=version)
