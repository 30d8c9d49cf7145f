"""The negative control of the trials of copies: without the note in the data, a worker runs the tasks of a copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from chaos.faults import copied
from chaos.faults.copies import CopyDump
from chaos.faults.model import SHORT
from chaos.faults.trial import Trial
from tests.support.tables import database


def test_a_worker_that_starts_on_a_copy_is_noticed(dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(copied, "REFUSES_SECONDS", 1.0)
    trial = Trial(fault=CopyDump(), size=SHORT, seed=1, dsn=dsn, folder=tmp_path)
    with database(dsn) as db:
        db.execute("delete from pgsched.database_identity")
    (problem,) = copied.refusal(trial, dsn, tmp_path, kind="copy")
    assert problem.startswith("a worker did not refuse to run the tasks of the copy")
