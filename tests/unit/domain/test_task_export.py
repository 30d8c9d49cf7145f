"""Lines of files of tasks."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pgsched.domain.task_export import csv_line, json_line


def read(line: str) -> list[str]:
    return next(csv.reader(io.StringIO(line, newline="")))


@pytest.mark.parametrize("begin", ["=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"])
def test_no_cell_begins_as_a_formula(begin: str) -> None:
    assert read(csv_line([f"{begin}1+1"])) == [f"'{begin}1+1"]


@given(st.lists(st.text(st.characters(codec="utf-8")), min_size=1, max_size=4))
def test_texts_are_read_as_they_are_behind_their_apostrophe(texts: list[str]) -> None:
    for text, cell in zip(texts, read(csv_line(texts)), strict=True):
        assert cell in (text, f"'{text}")
        assert not cell.startswith(("=", "+", "-", "@", "\t", "\r"))


def test_values_are_numbers_json_or_nothing() -> None:
    assert csv_line([-5, None, True, {"a": 1}, ["x"]]) == '-5,"","true","{""a"": 1}","[""x""]"\r\n'


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")) | st.integers()))
def test_a_line_of_json_is_one_line(task: dict[str, Any]) -> None:
    line = json_line(task)
    assert line.count("\n") == 1
    assert json.loads(line) == task
