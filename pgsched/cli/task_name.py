"""How commands name a task: by its id, by its idempotency key, or by ``--key``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pgsched.cli.names import completes, nearest
from pgsched.cli.options import TASK_ID, option_group
from pgsched.domain.errors import TaskNotFound

if TYPE_CHECKING:
    from pgsched.client.client import Client

Function = TypeVar("Function", bound=Callable[..., Any])
Name = int | str
"""The id of a task, or its key."""


_NAME, _KEY = "task_name", "task_key"


def read_name(context: click.Context, parameter: click.Parameter | None, word: str) -> Name:
    """Read digits as an id and every other word as a key."""
    is_id = word.isascii() and word.isdigit()
    return int(TASK_ID(word, parameter, context)) if is_id else word


def read_optional(context: click.Context, parameter: click.Parameter, word: str | None) -> Name | None:
    """Read the name of a task that may be left out."""
    return None if word is None else read_name(context, parameter, word)


def task_argument(option: str = "--key") -> Callable[[Function], Function]:
    """Let a command take one task. With ``pass_client`` it gets its ``task_id``.

    The option takes a key of digits only, which would otherwise be read as an id.
    """
    return option_group(
        click.argument(
            _NAME, metavar="ID|KEY", required=False, callback=read_optional, shell_complete=completes("key")
        ),
        click.option(option, _KEY, metavar="KEY", help="The task by its idempotency key, also if the key is a number."),
    )


def tasks_argument(*, required: bool = True) -> Callable[[Function], Function]:
    """Let a command take several tasks. It gets their ``names``: the ids of some, the keys of others."""

    def decorate(command: Function) -> Function:
        return option_group(
            click.argument(
                "names", metavar="ID|KEY...", nargs=-1, callback=_all_names, shell_complete=completes("key")
            ),
            click.option(
                "--key",
                _KEY,
                metavar="KEY",
                multiple=True,
                is_eager=True,
                expose_value=False,
                callback=_keep_keys,
                help="A task by its idempotency key, also if the key is a number; may be repeated.",
            ),
        )(command)

    def _keep_keys(context: click.Context, _parameter: click.Parameter, keys: tuple[str, ...]) -> None:
        context.meta[_KEY] = keys

    def _all_names(context: click.Context, parameter: click.Parameter, words: tuple[str, ...]) -> tuple[Name, ...]:
        every = (*(read_name(context, parameter, word) for word in words), *context.meta[_KEY])
        if required and not every:
            raise click.MissingParameter(ctx=context, param=parameter)
        return every

    return decorate


def id_of(client: Client, name: Name) -> int:
    """Return the id of a task. Raises TaskNotFound for a key that no task has, with the nearest key of a schedule."""
    if isinstance(name, int):
        return name
    try:
        return client.task_id(name)
    except TaskNotFound as error:
        if near := nearest(client, "key", name):
            raise TaskNotFound(f"{error}. Did you mean {near!r}?") from None
        raise


def with_task_id(client: Client, given: dict[str, Any]) -> dict[str, Any]:
    """Replace the name that a ``task_argument`` has read by the ``task_id`` of that task."""
    if _NAME not in given:
        return given
    name, key = given.pop(_NAME), given.pop(_KEY)
    context = click.get_current_context()
    if name is None and key is None:
        missing = next(one for one in context.command.params if one.name == _NAME)
        raise click.MissingParameter(ctx=context, param=missing)
    if name is not None and key is not None:
        raise click.UsageError("Give one task, by its id or by its key.", context)
    return given | {"task_id": id_of(client, key if name is None else name)}
