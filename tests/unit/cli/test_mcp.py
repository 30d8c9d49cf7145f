"""``pgsched mcp`` where its extra is not installed."""

from __future__ import annotations

import importlib.util

import pytest

from pgsched.cli.mcp import MISSING
from tests.support.commands import pgsched


@pytest.mark.parametrize("missing", ["mcp", "fastapi"])
def test_command_names_the_extra_that_is_missing(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert pgsched("mcp").error == MISSING
