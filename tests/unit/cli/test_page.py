"""docs/cli.md names the commands and exit codes that there are."""

from __future__ import annotations

from pgsched.cli import RENAMED, commands
from tests.support.doc_examples import table
from tools.docs.cli_page import ENDS, inner_commands


def test_nouns_and_verbs_are_those_of_the_program() -> None:
    rows = {row["noun"]: row["verbs"].split() for row in table("cli", "Nouns and verbs").rows}
    rows.pop("calendar, view, lock, settings")
    known = inner_commands(commands)
    assert {noun: sorted(verbs) for noun, verbs in rows.items()} == {
        noun: sorted(inner_commands(known[noun])) for noun in rows
    }


def test_every_group_is_on_the_page() -> None:
    nouns = {noun for row in table("cli", "Nouns and verbs").rows for noun in row["noun"].split(", ")}
    assert {name for name, one in inner_commands(commands).items() if inner_commands(one)} == nouns


def test_exit_codes_are_those_of_the_program() -> None:
    rows = table("cli", "Exit codes and confirmation").rows
    assert {int(row["code"]): row["means"] for row in rows} == {
        code: text.replace("`", "") for code, text in ENDS.items()
    }


def test_former_names_are_those_of_the_program() -> None:
    former = {row["former"].split()[1] for row in table("cli", "Former names").rows}
    assert former == {*RENAMED, "task"}
