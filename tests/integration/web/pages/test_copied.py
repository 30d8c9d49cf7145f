"""The dashboard of a copy says at the top that no worker starts, and which command ends that."""

from __future__ import annotations

import pytest

from pgsched.client.client import Client
from tests.support.pages import Page
from tests.support.tables import database
from tests.support.web_face import web

COMMAND = "To let workers start here, run pgsched database adopt"


@pytest.mark.parametrize("path", ["/", "/workers", "/doctor"])
async def test_page_says_that_the_database_is_a_copy_or_held_until_it_is_adopted(dsn: str, path: str) -> None:
    with Client(dsn) as client:
        async with web(dsn) as http:
            assert COMMAND not in Page((await http.get(path)).text).text, "nothing is noted: workers start"
            client.adopt_database()
            assert COMMAND not in Page((await http.get(path)).text).text, "it is the original"

            client.hold_database(held_by="ada")
            held = Page((await http.get(path)).text).text
            assert "Workers have been held back from database " in held
            assert f" by ada. {COMMAND}" in held

            client.adopt_database()
            with database(dsn) as db:
                db.execute("update pgsched.database_identity set database_oid = 1, database_name = 'shop'")
            copied = Page((await http.get(path)).text).text
            assert "This database is a copy: its tasks belong to database shop (oid 1) of system " in copied
            assert COMMAND in copied

            assert (await http.post("/api/v1/database/adopt")).json()["state"] == "original"
            assert COMMAND not in Page((await http.get(path)).text).text
