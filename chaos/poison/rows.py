"""Rows that are poison by what is in them."""

from __future__ import annotations

from benchmarks.databases import CONSTANTS
from chaos.poison.kind import COMPLETED, DEAD, REFUSED, SET_ASIDE, WAITS, Kind
from pgsched.domain.errors import Discard


async def _discards() -> None:
    raise Discard("this one is poison")


async def _fails() -> None:
    raise ValueError("it fails every time")


_NO_YEAR = "must_be_between_the_years_1_and_9999"


def _restored(**columns: str) -> str:
    """Return the SQL of a due schedule that no INSERT of today could make; each column is an expression."""
    given = {
        "task_type": "'{name}'",
        "schedule_type": "'recurring'",
        "cron_expression": "'0 0 * * *'",
        "next_run_at": "now()",
        **{name: f"'{constant}'" for name, constant in CONSTANTS.items()},
        "metadata": """'{"poison": "{mark}"}'""",
        **columns,
    }
    return f"""
        with role as (select set_config('session_replication_role', 'replica', true))
        insert into pgsched.tasks ({", ".join(given)}) select {", ".join(given.values())} from role returning id
    """


KINDS = (
    Kind(
        name="cron-at-the-end-of-time",
        does="a cron schedule whose start is the last day that a clock knows",
        columns={"cron_expression": "'0 0 * * *'", "start_date": "'9999-12-30 23:59:59+00'"},
        fates=(DEAD, COMPLETED),
    ),
    Kind(
        name="interval-over-the-end-of-time",
        does="a repeating task of 1,000 years whose next ticks pass the year 9999",
        columns={
            "repeat_interval": "'1000 years'",
            "start_date": "'0002-01-01 00:00:00+00'",
            "on_missed": "'all'",
        },
        fates=(DEAD, COMPLETED, WAITS),
    ),
    Kind(
        name="backoff-overflow",
        does="attempt 998 of 1,000 with an exponential backoff of 1,000 years",
        handler=_fails,
        columns={
            "attempts": "997",
            "max_attempts": "1000",
            "backoff": "'exponential'",
            "backoff_delay": "'1000 years'",
            "backoff_max": "'1000 years'",
        },
        fates=(DEAD, WAITS),
        words="it fails every time",
        odd_books=True,
    ),
    Kind(
        name="infinite-due-time",
        does="a due time of `-infinity`",
        columns={"scheduled_for": "'-infinity'"},
        fates=(REFUSED,),
        words=_NO_YEAR,
    ),
    Kind(
        name="start-before-christ",
        does="a schedule that starts before Christ",
        columns={"repeat_interval": "'1 day'", "start_date": "'0044-03-15 00:00:00+00 BC'"},
        fates=(REFUSED,),
        words=_NO_YEAR,
    ),
    Kind(
        name="year-10000",
        does="an end date of the year 10000",
        columns={"repeat_interval": "'1 day'", "end_date": "'10000-01-01 00:00:00+00'"},
        fates=(REFUSED,),
        words=_NO_YEAR,
    ),
    Kind(
        name="planned-from-infinity",
        does="a schedule whose bookkeeping says `infinity`, as a restored dump may have it",
        tasks=_restored(planned_from="'infinity'"),
        fates=(DEAD, SET_ASIDE),
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="lease-before-christ",
        does="a due row whose `created_at` is before Christ and whose `last_run_at` is infinite",
        columns={"created_at": "'4000-01-01 00:00:00+00 BC'", "last_run_at": "'infinity'"},
        fates=(COMPLETED,),
    ),
    Kind(
        name="deep-payload",
        does="a payload of 2,000 lists inside one another",
        payload='{"deep": ' + "[" * 2000 + "]" * 2000 + "}",
        fates=(REFUSED,),
        words="payload_must_not_be_nested_deeper",
    ),
    Kind(
        name="huge-number",
        does="a number of 5,000 digits in a payload",
        payload='{"number": ' + "7" * 5000 + "}",
        fates=(REFUSED,),
        words="payload_must_not_hold_numbers",
    ),
    Kind(
        name="tiny-number",
        does="a number with 9,000 decimals in a payload",
        payload='{"number": 0.' + "0" * 9000 + "1}",
        words="unexpected argument",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="full-payload",
        does="payloads of nearly 1 MiB, many at once",
        payload='{"text": "' + "x" * 1_040_000 + '"}',
        rows=8,
        words="unexpected argument 'text'",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="payload-mismatch",
        does="a payload that does not fit the handler",
        payload='{"nonsense": 1}',
        words="unexpected argument 'nonsense'",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="vanished-zone",
        does="a schedule in a zone that no longer exists",
        tasks=_restored(timezone="'Mars/Olympus_Mons'"),
        words="Mars/Olympus_Mons",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="unreadable-cron",
        does="a cron expression that nobody can read, as a restored dump may have it",
        tasks=_restored(cron_expression="'at noon or so'"),
        words="at noon or so",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="no-handler",
        does="a type that no worker knows",
        columns={"task_type": "'poison_that_nobody_knows'"},
        fates=(WAITS,),
        doctor=("unknown_types", "poison_that_nobody_knows"),
    ),
    Kind(
        name="dead-dependency",
        does="a task that dies, and a dependent that runs anyway",
        handler=_discards,
        tasks="""
            with upstream as (
              insert into pgsched.tasks (task_type, metadata) values ('{name}', '{"poison": "{mark}"}') returning id),
            waiting as (
              insert into pgsched.tasks (task_type, metadata, depends_on, on_dependency_dead)
              select '{name}', '{"poison": "{mark}"}', array[id], 'run' from upstream returning id)
            select id from upstream union all select id from waiting
        """,
        words="this one is poison",
        doctor=("dead_letters", "{name}"),
    ),
    Kind(
        name="poisoned-group",
        does="a group one of whose steps is poison",
        handler=_discards,
        columns={"task_type": "'pgsched.group'"},
        payload='{"steps": [{"task_type": "poison_poisoned_group", "name": "one"}]}',
        words="one",
        doctor=("dead_letters", "{name}"),
    ),
)
