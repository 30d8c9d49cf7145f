"""The REST API on what is kept of finished tasks, and on deleting them now."""

from __future__ import annotations

from typing import Any

import pytest

from pgsched.web.api import examples
from tests.support.retained import finished, left
from tests.support.tables import database
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

API = "/api/v1"
EMPTY = dict.fromkeys(examples.GENERAL) | {"archive": False, "unknown_types": "tell"}


def noted(dsn: str) -> list[tuple[Any, ...]]:
    """The audit log."""
    with database(dsn) as connection:
        rows = connection.execute("select action, queue, before, after from pgsched.audit_log order by id")
        return [(row["action"], row["queue"], row["before"], row["after"]) for row in rows]


async def test_settings_are_read_changed_and_noted(dsn: str) -> None:
    async with web(dsn) as http:
        assert (await http.get(f"{API}/settings")).json() == EMPTY
        answer = await http.patch(f"{API}/settings", json=examples.GENERAL_EDIT)
        assert answer.json() == EMPTY | {"retention": "7 days", "history_retention": "30 days"}
        assert (await http.patch(f"{API}/settings", json={"retention": "7d"})).status_code == 200
        assert (await http.patch(f"{API}/settings", json={"retention": None})).json()["retention"] is None
        answer = await http.patch(f"{API}/queues/mail/settings", json={"retention_count": "forever", "archive": True})
        assert (answer.json()["retention_count"], answer.json()["archive"]) == (2147483647, True)
    assert noted(dsn) == [
        (
            "settings.set",
            None,
            {"retention": None, "history_retention": None},
            {"retention": "7 days", "history_retention": "30 days"},
        ),
        ("settings.set", None, {"retention": "7 days"}, {"retention": None}),
        (
            "queue.set",
            "mail",
            {"retention_count": None, "archive": None},
            {"retention_count": 2147483647, "archive": True},
        ),
    ]


@pytest.mark.parametrize(
    ("path", "body", "rule"),
    [
        ("/settings", {"history_retention": "1h"}, "history_retention must be at least a day, got 1h"),
        ("/settings", {"archive": None}, "archive must be true or false, got None"),
        ("/settings", {"retention_count": -1}, "retention_count must be a whole number"),
        ("/settings", {}, "settings: nothing to change"),
        ("/queues/mail/settings", {"dead_retention": "soon"}, "dead_retention: "),
    ],
)
async def test_setting_that_makes_no_sense_is_refused(dsn: str, path: str, body: dict[str, Any], rule: str) -> None:
    async with web(dsn) as http:
        answer = await http.patch(f"{API}{path}", json=body)
        assert answer.status_code in (400, 422)
        assert answer.json()["detail"].startswith(rule)
    assert noted(dsn) == []


async def test_prune_deletes_and_is_noted_and_a_dry_run_does_neither(dsn: str) -> None:
    with database(dsn) as db:
        done = finished(db, queue="mail")
        async with web(dsn) as http:
            wish = {"completed_older_than": "60s", "allow_short": True, "queue": "mail"}
            told = (await http.post(f"{API}/prune", json=wish | {"dry_run": True})).json()
            assert told["queues"] == [{"queue": "mail", "completed": 1, "cancelled": 0, "dead": 0}]
            assert (left(db), noted(dsn)) == ([done], [])
            assert (await http.post(f"{API}/prune", json=wish)).json() == told | {"dry_run": False}
            assert left(db) == []
            assert (await http.post(f"{API}/prune", json={"max_seconds": 31})).status_code == 422
            assert (await http.post(f"{API}/prune", json={"archive_dir": "/tmp"})).status_code == 422
    ((action, queue, _, after),) = noted(dsn)
    assert (action, queue, after["queues"]) == ("prune", "mail", told["queues"])


async def test_viewer_reads_settings_and_changes_none(dsn: str) -> None:
    async with web(dsn, PROTECTED, token=VIEWER_TOKEN) as http:
        assert (await http.get(f"{API}/settings")).status_code == 200
        assert (await http.patch(f"{API}/settings", json={"retention": "1d"})).status_code == 403
        assert (await http.post(f"{API}/prune", json={})).status_code == 403
    async with web(dsn, PROTECTED, token=OPERATOR_TOKEN) as http:
        assert (await http.patch(f"{API}/settings", json={"retention": "1d"})).status_code == 200
