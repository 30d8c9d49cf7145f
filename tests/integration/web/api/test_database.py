"""The REST API on whether the tasks belong to a database."""

from __future__ import annotations

from tests.support.tables import database
from tests.support.web_face import OPERATOR_TOKEN, PROTECTED, VIEWER_TOKEN, web

API = "/api/v1"


async def test_database_is_held_and_adopted_by_operators_and_noted(dsn: str) -> None:
    async with web(dsn) as http:
        assert (await http.get(f"{API}/database")).json()["state"] == "unnoted"
        held = (await http.post(f"{API}/database/hold")).json()
        assert held["state"] == "held"
        assert held["problem"].startswith("workers have been held back from database ")
        assert (await http.post(f"{API}/database/adopt")).json()["state"] == "original"
        assert (await http.post(f"{API}/database/adopt")).status_code == 200
    with database(dsn) as db:
        rows = db.execute("select action, after from pgsched.audit_log order by id").fetchall()
    assert [(row["action"], row["after"]["state"]) for row in rows] == [
        ("database.hold", "held"),
        ("database.adopt", "original"),
    ]


async def test_viewers_only_look(dsn: str) -> None:
    async with web(dsn, PROTECTED) as http:
        viewer, operator = ({"Authorization": f"Bearer {token}"} for token in (VIEWER_TOKEN, OPERATOR_TOKEN))
        assert (await http.get(f"{API}/database", headers=viewer)).status_code == 200
        assert (await http.post(f"{API}/database/hold", headers=viewer)).status_code == 403
        assert (await http.post(f"{API}/database/hold", headers=operator)).status_code == 200
