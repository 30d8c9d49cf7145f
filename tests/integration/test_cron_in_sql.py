"""The database refuses what the worker could not read, and nothing that it can."""

from __future__ import annotations

import pytest

from pgsched.cron import parse_cron
from pgsched.errors import InvalidCron
from tests.tables import database

NEVER_FIRES = "can never fire"

READABLE = [
    "* * * * *", "*/5 * * * *", "0 8 * * mon-fri", "0 8 * * 5L", "0 8 * * friL", "0 8 * * L5",
    "0 8 * * mon#2",
    "0 8 L * *", "0 8 ? * mon", "0 8 1 * ?", "0 8 1,15 * *", "15,45 2 * * *",
    "0 1-5/2 * jan-mar *", "@daily", " @Hourly ",
    "0 0 1 JAN *", "5/20 * * * *", "*/10 * * * * *", "0 0 8 * * 1", "* * * * * sun",
    "0 8 * * fri-sun", "0 8 * * 6-7",
    "0 8 * * 0,7", "59 23 31 12 7", "\t0 8 * * *\n",
]  # fmt: skip
UNREADABLE = [
    "", "   ", "* * * *", "* * * * * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *",
    "* * * 13 *",
    "* * * * 8", "? * * * *", "* ? * * *", "mon#l * * * *", "0 8 * * mon#l", "0 8 * * mon#6",
    "0 8 * * #2", "0 8 * * L",
    "22-6 * * * *", "0 22-6 * * *", "*/0 * * * *", "*/90 * * * *", "*/x * * * *", "*/ * * * *",
    "1- * * * *", "-1 * * * *",
    "1,,2 * * * *", ", * * * *", "1-2-3 * * * *", "@reboot", "@fortnightly", "H * * * *",
    "R * * * *", "0 8 15W * *",
    "0 8 * foo *", "0 8 * * funday", "* * * * * 0", "*/5 * * * * 1-5", "99999999999 * * * *",
    "0 8 l-2 * *", "1.5 * * * *",
    "0 8 * * fri-mon", "0 8 * * 5-1",
]  # fmt: skip


@pytest.mark.parametrize("expression", READABLE)
def test_what_the_worker_reads_is_taken(dsn: str, expression: str) -> None:
    parse_cron(expression)
    assert problem(dsn, expression) is None


@pytest.mark.parametrize("expression", UNREADABLE)
def test_what_the_worker_cannot_read_is_refused(dsn: str, expression: str) -> None:
    with pytest.raises(InvalidCron):
        parse_cron(expression)
    assert problem(dsn, expression)


def problem(dsn: str, expression: str) -> object:
    with database(dsn) as db:
        row = db.execute("select pgsched.cron_problem(%s) as problem", (expression,)).fetchone()
        assert row is not None
        return row["problem"]
