"""Options that commands share, and option types that click lacks."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar

import click

from pgsched.cli.names import completes
from pgsched.domain.errors import InvalidTask
from pgsched.domain.json_text import unique_keys

Function = TypeVar("Function", bound=Callable[..., Any])

MAX_ID = 2**63 - 1
TASK_ID = click.IntRange(1, MAX_ID)
PORT = click.IntRange(0, 65535)
PROCESSES = click.IntRange(1, 256)


class Dsn(click.types.StringParamType):
    """A DSN, which may contain spaces in an environment variable."""

    def split_envvar_value(self, rv: str) -> list[str]:
        """Split a variable into DSNs: URIs separated by spaces, or a single DSN."""
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


def examples(*lines: str) -> str:
    """Return the epilog of a command with examples of its use, one a line."""
    return "\b\n" + "\n".join(["Examples:" if len(lines) > 1 else "Example:", *(f"  {line}" for line in lines)])


def option_group(*together: Callable[[Any], Any]) -> Callable[[Function], Function]:
    """Combine several options into one decorator; help lists them in this order."""

    def add(command: Function) -> Function:
        for option in reversed(together):
            command = option(command)
        return command

    return add


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
"""Of commands that change something; commands that list or show have :func:`output_option`."""
_JSON_GIVEN: Final = "pgsched.json"
WATCH_SECONDS: Final = 2.0


def output_option(*kinds: str) -> Callable[[Function], Function]:
    """``--output`` and its short form ``--json``; the command gets ``output``."""

    def keep(context: click.Context, _parameter: click.Parameter, given: bool) -> None:
        context.meta[_JSON_GIVEN] = given

    def choose(context: click.Context, _parameter: click.Parameter, given: str | None) -> str:
        if not context.meta.get(_JSON_GIVEN):
            return given or kinds[0]
        if given not in (None, "json"):
            raise click.UsageError(f"Give either --json or --output {given}.", context)
        return "json"

    names = " or ".join([", ".join(kinds[:-1]), kinds[-1]])
    return option_group(
        click.option(
            "-o",
            "--output",
            type=click.Choice(kinds),
            callback=choose,
            help=f"Print a {names}.".replace("json", "JSON").replace("csv", "CSV") + "  [default: table]",
        ),
        click.option(
            "--json", is_flag=True, is_eager=True, expose_value=False, callback=keep, help="As --output json."
        ),
    )


watch_option = click.option(
    "--watch",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=WATCH_SECONDS,
    type=click.FloatRange(0.2, 86_400),
    help=f"Print it again every SECONDS ({WATCH_SECONDS:g} if left out: --watch, --watch=10), until Ctrl-C.",
)
yes_option = click.option(
    "--yes", is_flag=True, help="Do not ask for confirmation. Required if stdin is not a terminal."
)
allow_short_option = click.option("--allow-short", is_flag=True, help="Allow ages shorter than an hour.")
type_option = click.option(
    "--type", "task_type", metavar="TYPE", shell_complete=completes("type"), help="Only of this task type."
)
type_argument = click.argument("task_type", metavar="TYPE", shell_complete=completes("type"))
name_argument = click.argument("name")
queue_argument = click.argument("name", shell_complete=completes("queue"))


def queue_option(text: str = "Only of this queue.") -> Callable[[Function], Function]:
    """``--queue`` of commands about tasks."""
    return click.option("--queue", metavar="NAME", shell_complete=completes("queue"), help=text)


def limit_option(default: int) -> Callable[[Function], Function]:
    """``--limit``: the maximum number of rows."""
    return click.option(
        "--limit", type=click.IntRange(1, 10_000), default=default, show_default=True, help="Maximum number of rows."
    )


cursor_option = click.option(
    "--cursor", metavar="TEXT", help="Where the next page begins: the cursor that the previous page printed."
)


def confirm(question: str, *, yes: bool) -> None:
    """Ask before an action that cannot be undone; a "no" aborts the command.

    Raises UsageError if stdin is not a terminal, unless ``yes``: then nobody can answer.
    """
    if yes:
        return
    if not sys.stdin.isatty():
        raise click.UsageError(f"{question} stdin is not a terminal: confirm with --yes", click.get_current_context())
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
        problem = f"invalid JSON: {error}"
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
    raise ValueError(f"{constant} is not a JSON value")


def read_ids(context: click.Context, parameter: click.Parameter, given: str | None) -> list[int] | None:
    """Read an option's task ids, separated by commas."""
    if given is None:
        return None
    ids = []
    for word in given.split(","):
        if not word.strip().isdecimal() or not 1 <= (task_id := int(word)) <= MAX_ID:
            problem = f"{word.strip()!r} is not the id of a task: write ids as 1,2"
            raise click.BadParameter(problem, context, parameter)
        ids.append(task_id)
    return ids
