"""``pgsched prune``, ``pgsched settings`` and what ``pgsched queue set`` says of finished tasks."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.commands import Ended, pgsched
from tests.support.retained import finished, left
from tests.support.tables import database

NOTHING = {
    "retention": None,
    "retention_count": None,
    "dead_retention": None,
    "dead_retention_count": None,
    "archive": False,
    "history_retention": None,
    "unknown_types": "tell",
}


def test_settings_are_set_shown_and_cleared(dsn: str) -> None:
    assert pgsched("settings", "show", "--json", dsn=dsn).json() == NOTHING
    ended = pgsched(
        "settings", "set", "--retention", "7d", "--dead-retention-count", "5", "--history-retention", "30d",
        "--archive", dsn=dsn,
    )  # fmt: skip
    words = "keeps finished tasks for 7d, at most 5 dead tasks; archives what is deleted; keeps the history for 30d\n"
    assert ended == Ended(0, words, "")
    assert pgsched("settings", "show", "--json", dsn=dsn).json() == NOTHING | {
        "retention": "7 days",
        "dead_retention_count": 5,
        "archive": True,
        "history_retention": "30 days",
    }
    shown = pgsched("settings", "show", dsn=dsn).stdout.splitlines()
    assert [line.split() for line in shown][:2] == [["retention", "7d"], ["retention_count", "-"]]
    cleared = pgsched(
        "settings", "set", "--clear", "retention", "--clear", "history-retention", "--clear", "dead-retention-count",
        "--no-archive", dsn=dsn,
    )  # fmt: skip
    assert cleared == Ended(0, "nothing is deleted\n", "")
    assert pgsched("settings", "show", "--json", dsn=dsn).json() == NOTHING


def test_queue_says_how_long_its_finished_tasks_are_kept(dsn: str) -> None:
    ended = pgsched(
        "queue",
        "set",
        "mail",
        "--ageing",
        "10m",
        "--retention",
        "1d",
        "--retention-count",
        "1",
        "--no-archive",
        dsn=dsn,
    )
    words = "queue mail: fifo, ageing 10m; keeps finished tasks for 1d, at most 1 finished task; archives nothing\n"
    assert ended == Ended(0, words, "")
    ended = pgsched(
        "queue", "set", "mail", "--dead-retention", "forever", "--retention-count", "forever", "--clear", "retention",
        "--clear", "archive", dsn=dsn,
    )  # fmt: skip
    assert ended.stdout == "queue mail: fifo, ageing 10m; keeps all finished tasks, dead tasks for ever\n"


@pytest.mark.parametrize(
    ("command", "code", "error"),
    [
        (("settings", "set"), 2, "Give at least one setting"),
        (("queue", "set", "mail"), 2, "Give at least one setting"),
        (
            ("queue", "set", "mail", "--retention", "1d", "--clear", "retention"),
            2,
            "Give either --retention or --clear retention",
        ),
        (("queue", "set", "mail", "--retention", "soon"), 1, "retention: "),
        (("settings", "set", "--retention-count", "many"), 1, "retention_count must be a whole number between 0 and"),
        (("settings", "set", "--history-retention", "1h"), 1, "history_retention must be at least a day, got 1h"),
        (("prune", "--completed-keep", "-1"), 2, "-1 is not in the range"),
        (("prune", "--dead-older-than", "old"), 1, "dead_older_than: "),
        (("prune", "--queue", "mail", "--history-older-than", "1d"), 1, "history_older_than applies to all queues"),
        (("prune", "--max-seconds", "0"), 1, "max_seconds must be a number above 0"),
        (("prune", "--archive-dir", "/dev/null/x"), 1, "--archive-dir /dev/null/x: "),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(dsn: str, command: tuple[str, ...], code: int, error: str) -> None:
    ended = pgsched(*command, dsn=dsn)
    assert (ended.code, ended.stdout) == (code, "")
    assert error in ended.stderr


def test_prune_tells_what_went_of_each_queue(dsn: str) -> None:
    with database(dsn) as db:
        for queue, status in (("mail", "completed"), ("mail", "cancelled"), ("a", "dead"), ("a", "completed")):
            finished(db, "2 days", status, queue=queue)
        young = finished(db, queue="mail")
        wish = ("--completed-older-than", "1d", "--dead-older-than", "1d")
        told = pgsched("prune", *wish, "--dry-run", dsn=dsn)
        assert [line.split() for line in told.stdout.splitlines()] == [
            ["QUEUE", "COMPLETED", "CANCELLED", "DEAD"],
            ["a", "1", "0", "1"],
            ["mail", "1", "1", "0"],
        ]
        assert len(left(db)) == 5
        assert pgsched("prune", *wish, "--yes", dsn=dsn) == told
        assert left(db) == [young]
    assert pgsched("prune", *wish, dsn=dsn) == Ended(0, "no tasks deleted\n", "")
    assert pgsched("prune", dsn=dsn) == Ended(0, "no tasks deleted\n", "")


def test_prune_writes_files_and_names_them(dsn: str, tmp_path: Path) -> None:
    with database(dsn) as db:
        finished(db)
    done = pgsched(
        "prune", "--completed-keep", "0", "--archive-dir", tmp_path, "--archive", "--json", "--yes", dsn=dsn
    ).json()
    assert done["queues"] == [{"queue": "default", "completed": 1, "cancelled": 0, "dead": 0}]
    assert done["files"] == [str(path) for path in tmp_path.iterdir()]
    assert done["complete"] is True
    with database(dsn) as db:
        assert db.execute("select count(*) as n from pgsched.archived_tasks").fetchone() == {"n": 1}
