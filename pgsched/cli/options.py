"""Options that commands share, and option types that click lacks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import click

from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import unique_keys
from pgsched.domain.scheduling.time_zones import instant_of, load_zone

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_ID = 2**63 - 1
TASK_ID = click.IntRange(1, MAX_ID)
PORT = click.IntRange(0, 65535)
PROCESSES = click.IntRange(1, 256)


class Dsn(click.types.StringParamType):
    """A DSN. In a variable of the environment it is one although there are spaces in it."""

    def split_envvar_value(self, rv: str) -> list[str]:
        """Return the DSNs of a variable: URIs with spaces between them, or one DSN."""
        words = rv.split()
        return words if all("://" in word for word in words) else [rv]


def program_option(*names: str, **settings: Any) -> Callable[[Function], Function]:
    """``click.option`` that also reads ``PGSCHED_<OPTION>``, where spaces separate several values.

    For options that configure the program itself. Options about tasks, filters, database settings and confirmations are
    read from the command line only: a variable exported for one command must not change the next one.
    """
    longest = max((name.split("/")[0] for name in names if name.startswith("--")), key=len)
    settings.setdefault("envvar", "PGSCHED_" + longest.removeprefix("--").replace("-", "_").upper())
    return click.option(*names, **settings)


def option_group(*together: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Combine several options into one decorator; help lists them in this order."""

    def add(command: Function) -> Function:
        for option in reversed(together):
            command = option(command)
        return command

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
yes_option = click.option("--yes", is_flag=True, help="Do not ask. Needed where stdin is not a terminal.")
allow_short_option = click.option("--allow-short", is_flag=True, help="Ages may be shorter than an hour.")
type_option = click.option("--type", "task_type", metavar="TYPE", help="Only of this task type.")
name_argument = click.argument("name")


def queue_option(text: str = "Only of this queue.") -> Callable[[Function], Function]:
    """``--queue`` of commands about tasks."""
    return click.option("--queue", metavar="NAME", help=text)


def limit_option(default: int) -> Callable[[Function], Function]:
    """``--limit``: the maximum number of rows."""
    return click.option(
        "--limit", type=click.IntRange(1, 10_000), default=default, show_default=True, help="Maximum number of rows."
    )


cursor_option = click.option("--cursor", metavar="TEXT", help="The next page: what the page before said.")


def confirm(question: str, *, yes: bool) -> None:
    """Ask before an action that cannot be undone; a "no" aborts the command.

    Raises UsageError if stdin is not a terminal, unless ``yes``: then nobody can answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} Nobody can answer here: confirm with --yes", click.get_current_context())
    click.confirm(question, abort=True, err=True)


def read_json(context: click.Context, parameter: click.Parameter | None, given: str) -> Any:
    """Read JSON that a command was given: literal text, a file (``@file``) or stdin (``-``).

    Raises BadParameter for invalid JSON.
    """
    try:
        return json.loads(_text_of(given), parse_constant=_no_json, object_pairs_hook=unique_keys)
    except OSError as error:
        problem = f"{given[1:]} cannot be read: {error.strerror or error}"
    except UnicodeDecodeError:
        problem = f"{given} is not UTF-8 text"
    except RecursionError:
        problem = "the JSON is nested too deeply"
    except ValueError as error:
        problem = f"this is no JSON: {error}"
    raise click.BadParameter(problem, context, parameter)


def read_json_object(context: click.Context, parameter: click.Parameter, given: str | None) -> dict[str, Any] | None:
    """Read an option's JSON object, as :func:`read_json`. Raises InvalidTask for JSON that is not an object."""
    if given is None:
        return None
    found = read_json(context, parameter, given)
    if isinstance(found, dict):
        return found
    raise InvalidTask(f"{parameter.name} must be a JSON object, got {_shown(found)}")


def _text_of(value: str) -> str:
    if value == "-":
        return sys.stdin.read()
    if value.startswith("@"):
        return Path(value[1:]).read_text(encoding="utf-8")
    return value


def _shown(value: object, longest: int = 50) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= longest else text[:longest] + "…"


def _no_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON value")


def read_ids(context: click.Context, parameter: click.Parameter, given: str | None) -> list[int] | None:
    """Read an option's task ids, separated by commas."""
    if given is None:
        return None
    ids = []
    for word in given.split(","):
        if not word.strip().isdecimal() or not 1 <= (task_id := int(word)) <= MAX_ID:
            problem = f"{word.strip()!r} is no id of a task: write them as 1,2"
            raise click.BadParameter(problem, context, parameter)
        ids.append(task_id)
    return ids


def read_moment(context: click.Context, parameter: click.Parameter, given: str | None) -> datetime | None:
    """Read an option's ISO 8601 time; without an offset it is naive."""
    if given is None:
        return None
    try:
        return datetime.fromisoformat(given.strip())
    except ValueError:
        problem = f"{given!r} is no time in ISO 8601, as 2026-03-29T08:00Z"
        raise click.BadParameter(problem, context, parameter) from None


def instant(moment: datetime, timezone: str | None) -> datetime:
    """Return the instant of a time; a naive one is wall-clock time in ``timezone``, or UTC if that is None."""
    try:
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
        return instant_of(moment, load_zone(timezone or "UTC"))
    except OverflowError:
        raise click.UsageError(f"{moment.isoformat()} is not between the years 1 and 9999 in UTC") from None
