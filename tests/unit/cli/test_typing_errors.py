"""A name that does not exist is answered with the nearest one that does."""

from __future__ import annotations

import pytest

from pgsched.cli import main


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tsak"], "No such command 'tsak'. Did you mean 'task'? (see pgsched --help)"),
        (["task", "lsit"], "No such command 'lsit'. Did you mean 'list'? (see pgsched task --help)"),
        (["task", "list", "--staus", "dead"], "No such option '--staus'. Did you mean '--status'?"),
        (["task", "list", "--status", "ded"], "Did you mean 'dead'?"),
        (["queue", "set", "mail", "--ordering", "filo"], "'filo' is not one of 'fifo', 'lifo'. Did you mean 'fifo'?"),
    ],
)
def test_nearest_name_is_offered(words: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("words", [["nonsense"], ["task", "list", "--xyz"], ["task", "list", "--status", "xyz"]])
def test_nothing_is_offered_if_nothing_is_near(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 2
    assert "Did you mean" not in capsys.readouterr().err


def test_former_names_work_and_say_what_to_use(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["types", "--help"]) == 0
    said = capsys.readouterr()
    assert said.err == "pgsched: 'pgsched types' is deprecated: use 'pgsched type list'\n"
    assert said.out.startswith("Usage: pgsched type list ")
