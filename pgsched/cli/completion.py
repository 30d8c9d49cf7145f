"""``pgsched completion``: the scripts that let a shell complete commands, options and names."""

from __future__ import annotations

from typing import Final

import click
from click.shell_completion import get_completion_class

from pgsched.cli.options import examples
from pgsched.cli.output import say

SHELLS: Final = ("bash", "zsh", "fish")
PROGRAM: Final = "pgsched"
VARIABLE: Final = "_PGSCHED_COMPLETE"
"""The environment variable with which the script asks the program for words; click's own name for it."""


@click.command(
    epilog=examples(
        "pgsched completion bash > ~/.local/share/bash-completion/completions/pgsched",
        "pgsched completion zsh > ~/.zfunc/_pgsched",
        "pgsched completion fish > ~/.config/fish/completions/pgsched.fish",
    )
)
@click.argument("shell", type=click.Choice(SHELLS))
def completion(shell: str) -> None:
    """Print the completion script of a shell.

    It completes commands, options and their values; also queues, registered types and keys of schedules, if the
    database of PGSCHED_DSN answers within a second or two.
    """
    found = get_completion_class(shell)
    assert found is not None  # noqa: S101 - the choices are those that click has
    script = found({}, {}, PROGRAM, VARIABLE)  # type: ignore[arg-type]  # the command itself is not needed for the text
    say((script.source_template % script.source_vars()).rstrip())
