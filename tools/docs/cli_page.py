"""docs/reference_cli.md: every command and option, as the program itself knows them."""

from __future__ import annotations

import re
from collections.abc import Iterator

import click

from pgsched.cli import commands
from pgsched.cli.errors import DONE, INTERRUPTED, REFUSED, USAGE
from tools.docs.markdown import anchor, code, page, table

INTRODUCTION = """\
# Command line reference

`make docs` writes this page from the program itself; `pgsched COMMAND --help` (`-h`) shows the same. How the commands
work together is in [cli.md](cli.md): output formats, times, filters, completion.

Options that set up a program can also be set by an environment variable; the command line takes precedence. There,
spaces separate the values of an option that may be repeated. Options about tasks, filters and settings of the database,
and `--yes`, are read from the command line only.
"""

ENDS = {
    DONE: "done",
    REFUSED: "rejected, not found, or failed; for `doctor` and `check`: a problem was found",
    USAGE: "wrong usage: an invalid command, option, argument or setting",
    INTERRUPTED: "interrupted by Ctrl-C",
}
"""What each exit code means."""


def cli_page() -> str:
    """The page."""
    known = list(walk(commands, "pgsched"))
    return page(
        INTRODUCTION,
        "## Exit codes",
        table(("code", "means"), [(str(number), meaning) for number, meaning in sorted(ENDS.items())]),
        "## Commands",
        table(
            ("command", "purpose"),
            [
                (f"[`{path}`](#{anchor(path)})", command.get_short_help_str(200))
                for path, command in known
                if _does_something(command)
            ],
        ),
        *[part for path, command in known for part in _command(path, command)],
    )


def walk(command: click.Command, path: str) -> Iterator[tuple[str, click.Command]]:
    """Every command with its full name: a group before its commands."""
    yield path, command
    for name, inner in inner_commands(command).items():
        yield from walk(inner, f"{path} {name}")


def inner_commands(command: click.Command) -> dict[str, click.Command]:
    """The commands of a group by name, without hidden ones; empty for any other command."""
    if not isinstance(command, click.Group):
        return {}
    context = click.Context(command)
    found = {name: command.get_command(context, name) for name in command.list_commands(context)}
    return {name: one for name, one in found.items() if one is not None and not one.hidden}


def _does_something(command: click.Command) -> bool:
    return not isinstance(command, click.Group) or command.invoke_without_command


def _command(path: str, command: click.Command) -> list[str]:
    options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
    arguments = [one for one in command.params if isinstance(one, click.Argument)]
    if not _does_something(command) and not options:
        return []
    context = click.Context(command, info_name=path)
    usage = " ".join(command.collect_usage_pieces(context))
    return [
        f"## {path}",
        code(f"{path} {usage}"),
        _paragraphs(command.help or ""),
        _examples(command.epilog or ""),
        table(("option", "environment", "default", "meaning"), [_row(one) for one in options]),
        "" if not any(one.nargs == -1 for one in arguments) else "An argument with `...` may be repeated.",
    ]


def _examples(epilog: str) -> str:
    """The examples of a command, as a displayed block: a test of the command line parses each."""
    begin, _, lines = epilog.partition("\n")
    return "```text\n" + "\n".join(line.strip() for line in lines.split("\n")[1:]) + "\n```" if begin == "\b" else ""


def _paragraphs(text: str) -> str:
    return "\n\n".join(" ".join(part.split()) for part in text.replace("\b", "").split("\n\n"))


def _row(option: click.Option) -> tuple[str, str, str, str]:
    text, default = told(option)
    flags = ", ".join(code(name) for name in [*option.opts, *option.secondary_opts])
    value = _value(option)
    environment = option.envvar if isinstance(option.envvar, str) else ""
    return f"{flags} {value}".strip(), code(environment), default, text


def _value(option: click.Option) -> str:
    if option.is_flag or option.count:
        return ""
    if isinstance(option.type, click.Choice) and option.metavar is None:
        return ""
    return code(option.metavar or ("N" if "range" in option.type.name else option.type.name.upper()))


def told(option: click.Option) -> tuple[str, str]:
    """The purpose of an option, and its default: as its help describes it, otherwise its value."""
    text = " ".join((option.help or "").split())
    said = re.search(r"\s*\[default: (.+)\]", text)
    if said:
        text, default = text.replace(said[0], ""), said[1]
    else:
        value = option.to_info_dict()["default"]
        if isinstance(value, tuple | list):
            value = " ".join(map(str, value))
        default = "" if value is None or value is False or value == "" else str(value)
        if option.is_flag and value is True:
            default = option.opts[0]
    if isinstance(option.type, click.Choice):
        text += " One of " + ", ".join(code(str(choice)) for choice in option.type.choices) + "."
    elif isinstance(option.type, click.IntRange | click.FloatRange):
        text += _range(option.type)
    if option.multiple and "repeated" not in text:
        text += " May be repeated."
    return text, default if " " in default else code(default)


def _range(limits: click.IntRange | click.FloatRange) -> str:
    lowest, highest = limits.min, limits.max
    if highest is None or highest >= 2**63 - 1:
        return f" {_number(lowest)} or more." if lowest is not None else ""
    return f" {_number(lowest)} to {_number(highest)}."


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:,g}" if abs(value) < 1e6 else f"{value:,.0f}"
