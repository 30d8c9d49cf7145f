"""Schedules from the command line: ``task next``, ``edit``, ``show``, ``schedule sync``, paused and run by hand."""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import Ended, pgsched
from tests.support.tables import database, move_tick, set_completed, set_dead, set_running

NO_DATABASE = "host=127.0.0.1 port=1 connect_timeout=1"
IN_BERLIN = ("--timezone", "Europe/Berlin")
BEFORE_SPRING = ("--from", "2026-03-28T12:00Z")
_modules = itertools.count(1)


def add(dsn: str, *arguments: object) -> int:
    ended = pgsched("task", "add", *arguments, dsn=dsn)
    assert (ended.code, ended.stderr) == (0, ""), ended
    return int(ended.stdout)


def show(dsn: str, task_id: int) -> dict[str, Any]:
    found: dict[str, Any] = pgsched("task", "show", task_id, "--json", dsn=dsn).json()
    return found


def edit(dsn: str, task_id: int, *options: object) -> dict[str, Any]:
    """Edit a task and return it as it is then."""
    ended = pgsched("task", "edit", task_id, *options, dsn=dsn)
    assert ended == Ended(0, f"task {task_id}: changed\n", "")
    return show(dsn, task_id)


def plan(dsn: str, task_id: int, tick: datetime) -> None:
    """Book a tick, as a worker does."""
    with database(dsn) as db:
        move_tick(db, task_id, tick)


def words_of(text: str) -> list[list[str]]:
    """The cells of each line; two spaces part them."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in text.splitlines()]


# The next ticks of an expression.


def test_next_shows_each_tick_in_utc_on_the_wall_clock_and_what_the_clocks_do() -> None:
    ended = pgsched("schedule", "next", "30 2 * * *", *IN_BERLIN, *BEFORE_SPRING, "-n", 2)
    assert ended.stderr == ""
    assert words_of(ended.stdout) == [
        ["UTC", "Europe/Berlin", "CLOCK CHANGE"],
        [
            "2026-03-29T01:00:00Z",
            "2026-03-29 03:00:00+02:00",
            "the clocks have just gone forward from 02:00 to 03:00",
        ],
        ["2026-03-30T00:30:00Z", "2026-03-30 02:30:00+02:00", "-"],
    ]


def test_next_json_is_an_array_of_instants_in_utc() -> None:
    ended = pgsched("schedule", "next", "30 2 * * *", *IN_BERLIN, "--from", "2026-10-24T12:00Z", "-n", 2, "--json")
    assert ended.json() == ["2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"]


def test_next_of_a_rhythm_has_no_tick_in_the_skipped_hour() -> None:
    ended = pgsched("schedule", "next", "*/20 2 * * *", *IN_BERLIN, *BEFORE_SPRING, "-n", 1, "--json")
    assert ended.json() == ["2026-03-30T00:00:00Z"]


def test_next_shows_five_ticks_after_now() -> None:
    found = [datetime.fromisoformat(tick) for tick in pgsched("schedule", "next", "* * * * *", "--json").json()]
    assert len(found) == 5
    assert datetime.now(UTC) < found[1]


def test_next_explain_says_it_in_words_first() -> None:
    ended = pgsched("schedule", "next", "30 2 * * mon-fri", *IN_BERLIN, "--explain")
    first, empty, header, *ticks = ended.stdout.splitlines()
    assert first.startswith("at 02:30 on Monday to Friday, Europe/Berlin time; fixed times: ")
    assert (empty, header.split()[0], len(ticks)) == ("", "UTC", 5)


def test_next_explain_json_has_the_words_beside_the_ticks() -> None:
    found = pgsched("schedule", "next", "--every", "1h", *BEFORE_SPRING, "-n", 1, "--explain", "--json").json()
    assert found == {"explanation": "every hour, in elapsed time", "ticks": ["2026-03-28T12:00:00Z"]}


def test_next_takes_an_interval_from_its_start() -> None:
    options = ("--every", "1mo", "--start", "2030-01-31T09:00", *IN_BERLIN, "-n", 3)
    found = pgsched("schedule", "next", *options, "--json").json()
    assert found == ["2030-01-31T08:00:00Z", "2030-02-28T08:00:00Z", "2030-03-31T07:00:00Z"]


def test_next_reads_times_without_an_offset_in_the_zone() -> None:
    options = ("--from", "2030-07-01T08:00", "--end", "2030-07-03T08:00", *IN_BERLIN)
    found = pgsched("schedule", "next", "0 8 * * *", *options, "--json").json()
    assert found == ["2030-07-02T06:00:00Z", "2030-07-03T06:00:00Z"]


def test_next_of_a_schedule_that_is_over_says_never_again() -> None:
    options = ("--from", "2030-07-01T00:00", "--end", "2030-06-01T00:00")
    assert pgsched("schedule", "next", "0 8 * * *", *options) == Ended(0, "no more ticks\n", "")
    assert pgsched("schedule", "next", "0 8 * * *", *options, "--json").json() == []


def test_next_at_the_end_of_the_calendar_says_never_again() -> None:
    ended = pgsched("schedule", "next", "0 8 * * *", "--from", "9999-12-31T23:59:59.999999Z")
    assert ended == Ended(0, "no more ticks\n", "")


def test_next_needs_no_database() -> None:
    assert pgsched("schedule", "next", "0 8 * * *", "--json", dsn=NO_DATABASE).code == 0
    assert pgsched("task", "list", dsn=NO_DATABASE).code == 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "Give either a cron expression or --every."),
        (("0 8 * * *", "--every", "1h"), "Give either a cron expression or --every."),
        (("0", "8", "*", "*", "*"), "unexpected extra arguments"),
        (("0 8 * * *", "-n", "0"), "0 is not in the range 1<=x<=10000"),
        (("0 8 * * *", "-n", "many"), "'many' is not a valid integer"),
        (("0 8 * * *", "--from", "tomorrow"), "'tomorrow' is not a time: write it in ISO 8601"),
    ],
)
def test_next_with_wrong_usage_exits_with_2(arguments: tuple[str, ...], words: str) -> None:
    ended = pgsched("schedule", "next", *arguments)
    assert ended.code == 2
    assert words in ended.error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("61 * * * *",), ("minute", "61")),
        (("0 8 * *",), ("5 fields", "got 4")),
        (("0 0 31 2 *",), ("can never fire",)),
        (("@reboot",), ("alias",)),
        (("",), ("5 fields",)),
        (("0 8 * * *", "--timezone", "Mars/Olympus"), ("timezone", "Mars/Olympus")),
        (("0 8 * * *", "--from", "2030-01-01", "--timezone", "Mars/Olympus"), ("timezone", "Mars/Olympus")),
        (("0 8 * * *", "--start", "2031-01-01", "--end", "2030-01-01"), ("end must not be before start",)),
        (("--every", "soon"), ("every", "soon")),
        (("--every", "0"), ("every", "1 millisecond")),
    ],
)
def test_next_of_what_the_rules_refuse_exits_with_1(arguments: tuple[str, ...], words: tuple[str, ...]) -> None:
    ended = pgsched("schedule", "next", *arguments)
    assert ended.code == 1
    assert all(word in ended.error for word in words), ended.error


# Editing.


def test_edit_changes_a_cron_schedule_and_only_what_is_given(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", "--queue", "mail", "--payload", '{"a": 1}')
    task = edit(dsn, task_id, "--cron", "0 9 * * mon", *IN_BERLIN, "--on-missed", "skip")
    assert (task["cron_expression"], task["timezone"], task["on_missed"]) == ("0 9 * * mon", "Europe/Berlin", "skip")
    assert (task["queue"], task["payload"]) == ("mail", {"a": 1})


def test_edit_changes_an_interval(dsn: str) -> None:
    task = edit(dsn, add(dsn, "poll", "--every", "1h"), "--every", "2h", "--times", "4")
    assert (task["schedule"], task["repeat_count"]) == ("every 2 hours, 4 times, in elapsed time", 4)


def test_edit_moves_a_one_time_task_that_waits(dsn: str) -> None:
    task = edit(dsn, add(dsn, "greet", "--delay", "1h"), "--at", "2030-07-01T08:00", *IN_BERLIN)
    assert task["next_runs"] == ["2030-07-01T06:00:00Z"]


def test_edit_changes_a_payload_and_options(dsn: str) -> None:
    options = ("--payload", '{"b": 2}', "--priority", "9", "--tag", "x", "--timeout", "30s", "--max-attempts", "7")
    task = edit(dsn, add(dsn, "greet", "--delay", "1h", "--payload", '{"a": 1}'), *options)
    assert (task["payload"], task["priority"], task["tags"], task["max_attempts"]) == ({"b": 2}, 9, ["x"], 7)


def test_edit_replaces_an_interval_by_cron_and_the_other_way_round(dsn: str) -> None:
    task_id = add(dsn, "poll", "--every", "1h", "--times", "3")
    task = edit(dsn, task_id, "--cron", "0 8 * * *")
    assert (task["schedule_type"], task["repeat_interval"], task["repeat_count"]) == ("recurring", None, None)
    task = edit(dsn, task_id, "--every", "90s")
    assert (task["schedule_type"], task["cron_expression"]) == ("repeating", None)


def test_edit_clears_each_option_that_a_task_may_have_none_of(dsn: str) -> None:
    task_id = add(
        dsn,
        *("poll", "--every", "1h", "--times", "3", "--name", "n", "--key", "k", "--tenant", "t", "--user", "u"),
        *(
            "--start",
            "2030-01-01",
            "--end",
            "2031-01-01",
            "--timeout",
            "5s",
            "--catchup-window",
            "1d",
            "--jitter",
            "1s",
        ),
    )
    cleared = {
        "name": "task_name",
        "key": "idempotency_key",
        "tenant": "tenant_id",
        "user": "user_id",
        "end": "end_date",
        "times": "repeat_count",
        "timeout": "timeout",
        "catchup-window": "catchup_window",
        "jitter": "jitter",
    }
    task = show(dsn, task_id)
    assert all(task[column] is not None for column in cleared.values())
    task = edit(dsn, task_id, *itertools.chain.from_iterable(("--clear", name) for name in cleared))
    assert {column: task[column] for column in cleared.values()} == dict.fromkeys(cleared.values())


def test_edit_clears_the_start_of_a_cron_schedule(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", "--start", "2030-01-01")
    assert edit(dsn, task_id, "--clear", "start")["start_date"] is None


def test_edit_reads_a_time_without_an_offset_in_the_zone_of_the_task(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", *IN_BERLIN)
    assert edit(dsn, task_id, "--end", "2030-07-01T08:00")["end_date"] == "2030-07-01T06:00:00Z"


def test_edit_reads_a_time_without_an_offset_in_the_zone_that_is_given_with_it(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", *IN_BERLIN)
    task = edit(dsn, task_id, "--end", "2030-07-01T08:00", "--timezone", "Asia/Tokyo")
    assert task["end_date"] == "2030-06-30T23:00:00Z"


def test_edit_json_prints_the_task_as_it_is_then(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    task = pgsched("task", "edit", task_id, "--cron", "0 9 * * *", "--json", dsn=dsn).json()
    assert (task["id"], task["cron_expression"]) == (task_id, "0 9 * * *")
    assert show(dsn, task_id).items() >= task.items()


def test_edit_plans_a_schedule_afresh(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    plan(dsn, task_id, datetime(2040, 1, 1, 8, tzinfo=UTC))
    assert show(dsn, task_id)["next_runs"][0] == "2040-01-01T08:00:00Z"
    task = edit(dsn, task_id, "--cron", "0 9 1 1 *", "--start", "2035-01-01T00:00Z")
    assert task["scheduled_for"] == "2035-01-01T09:00:00Z"
    assert task["next_runs"][0] == "2035-01-01T09:00:00Z"


def test_edit_brings_a_schedule_that_ended_back(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", "--end", "2040-01-01")
    with database(dsn) as db:
        set_completed(db, task_id)
    task = edit(dsn, task_id, "--clear", "end")
    assert (task["status"], len(task["next_runs"])) == ("pending", 5)


def test_edit_while_it_runs_is_for_the_next_runs(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    tick = datetime(2020, 1, 1, 8, tzinfo=UTC)
    plan(dsn, task_id, tick)
    with database(dsn) as db:
        set_running(db, task_id)
    task = edit(dsn, task_id, "--cron", "0 9 * * *")
    assert (task["status"], task["scheduled_for"]) == ("running", "2020-01-01T08:00:00Z")
    assert all(run.endswith("T09:00:00Z") and run > task["started_at"] for run in task["next_runs"])


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ((), ("nothing to change",)),
        (("--cron", "0 8 * *"), ("5 fields",)),
        (("--cron", "0 0 31 2 *"), ("can never fire",)),
        (("--cron", "0 8 * * *", "--every", "1h"), ("cron and every exclude each other",)),
        (("--timezone", "Mars/Olympus"), ("timezone", "Mars/Olympus")),
        (("--every", "0"), ("every", "1 millisecond")),
        (("--times", "3"), ("repeat_count needs a repeat_interval",)),
        (("--at", "2030-01-01"), ("at and delay are for one-time tasks",)),
        (("--delay", "1h"), ("at and delay are for one-time tasks",)),
        (("--priority", "11"), ("priority must be",)),
        (("--end", "2019-01-01", "--start", "2020-01-01"), ("end must not be before start",)),
    ],
)
def test_edit_that_is_refused_exits_with_1_and_changes_nothing(
    dsn: str, options: tuple[str, ...], words: tuple[str, ...]
) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    before = show(dsn, task_id)
    ended = pgsched("task", "edit", task_id, *options, dsn=dsn)
    assert ended.code == 1
    assert all(word in ended.error for word in words), ended.error
    assert show(dsn, task_id) == before


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--clear", "queue"), "Invalid value for '--clear'"),
        (("--start", "soon"), "'soon' is not a time: write it in ISO 8601"),
        (("--payload", "{"), "invalid JSON"),
        (("--end", "2030-01-01", "--clear", "end"), "Give either --end or --clear end."),
        (("--catchup-window", "1d", "--clear", "catchup-window"), "Give either --catchup-window or --clear"),
    ],
)
def test_edit_with_wrong_usage_exits_with_2(dsn: str, options: tuple[str, ...], words: str) -> None:
    ended = pgsched("task", "edit", add(dsn, "digest", "--cron", "0 8 * * *"), *options, dsn=dsn)
    assert ended.code == 2
    assert words in ended.error


@pytest.mark.parametrize("options", [("--priority", "3"), ("--end", "2030-01-01T00:00"), ("--clear", "end")])
def test_edit_of_an_unknown_task_is_not_found(dsn: str, options: tuple[str, ...]) -> None:
    ended = pgsched("task", "edit", 424242, *options, dsn=dsn)
    assert (ended.code, ended.error) == (1, "task 424242 does not exist")


# Showing.


def test_show_tells_a_schedule_in_words_and_its_next_runs(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *", *IN_BERLIN)
    plan(dsn, task_id, datetime(2040, 7, 1, 6, tzinfo=UTC))
    lines = words_of(pgsched("task", "show", task_id, dsn=dsn).stdout)
    (schedule,) = [line for line in lines if line[:1] == ["schedule"]]
    assert schedule[1].startswith("every day at 08:00, Europe/Berlin time; fixed times: ")
    at = next(at for at, line in enumerate(lines) if line[:1] == ["next runs"])
    runs = [line[-1].split()[0] for line in lines[at : at + 5]]
    assert runs == [f"2040-07-0{day}T06:00:00Z" for day in range(1, 6)]
    assert ["running now", "no"] in lines
    assert ["last execution", "-"] in lines
    assert ["no executions yet"] in lines


def test_show_tells_the_last_execution(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    with database(dsn) as db:
        for attempt, status in ((1, "failed"), (2, "completed")):
            db.execute(
                "insert into pgsched.executions (task_id, task_type, queue, attempt, fencing_token, status,"
                " started_at, finished_at) values (%s, 'digest', 'default', %s, %s, %s, now(), now())",
                (task_id, attempt, attempt, status),
            )
    lines = words_of(pgsched("task", "show", task_id, dsn=dsn).stdout)
    (last,) = [line for line in lines if line[:1] == ["last execution"]]
    assert last[1].startswith("completed, ")
    task = show(dsn, task_id)
    assert (task["last_execution"]["attempt"], len(task["executions"])) == (2, 2)


def test_show_tells_the_ticks_that_were_not_run(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    assert "NOT RUN" not in pgsched("task", "show", task_id, dsn=dsn).stdout
    with database(dsn) as db:
        db.execute(
            "insert into pgsched.missed_ticks (task_id, task_type, queue, reason, ticks, first_tick, next_tick)"
            " values (%s, 'digest', 'default', 'skip', 3, '2030-01-01 08:00Z', null)",
            (task_id,),
        )
    lines = words_of(pgsched("task", "show", task_id, dsn=dsn).stdout)
    at = lines.index(["NOT RUN", "TICKS", "FROM", "INSTEAD"])
    reason, count, first, instead = lines[at + 1]
    assert (reason, count, first.split()[0], instead) == ("skip", "3", "2030-01-01T08:00:00Z", "-")
    (missed,) = show(dsn, task_id)["missed_ticks"]
    assert (missed["reason"], missed["ticks"], missed["next_tick"]) == ("skip", 3, None)


def test_show_of_a_schedule_that_runs_leaves_its_tick_out(dsn: str) -> None:
    task_id = add(dsn, "poll", "--every", "1h", "--start", "2040-01-01T00:00Z")
    with database(dsn) as db:
        plan(dsn, task_id, datetime(2040, 1, 1, tzinfo=UTC))
        set_running(db, task_id)
    task = show(dsn, task_id)
    assert task["is_running"] is True
    assert task["next_runs"] == [f"2040-01-01T0{hour}:00:00Z" for hour in range(1, 6)]


def test_show_json_has_the_status_beside_the_columns(dsn: str) -> None:
    added = pgsched("task", "add", "digest", "--cron", "0 8 * * *", "--json", dsn=dsn).json()
    task = show(dsn, added["id"])
    assert (added.pop("outcome"), added.pop("differs")) == ("created", [])
    assert task.items() >= added.items()
    beside = {
        "schedule",
        "is_running",
        "running",
        "next_runs",
        "last_execution",
        "executions",
        "missed_ticks",
        "version",
    }
    beside |= {"why", "alerts", "logs", "awaits", "wakes_at", "durable_steps", "durable_events"}
    assert task.keys() - added.keys() == beside
    assert (len(task["next_runs"]), task["is_running"], task["last_execution"]) == (5, False, None)


def test_show_of_a_schedule_that_cannot_be_planned_says_why(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    with database(dsn) as db:
        # An earlier release let it in.
        db.execute("set session_replication_role = replica")
        db.execute("update pgsched.tasks set cron_expression = '0 0 31 2 *' where id = %s", (task_id,))
        set_dead(db, task_id)
    task = show(dsn, task_id)
    assert "can never fire" in task["schedule"]
    assert task["next_runs"] == []


# Paused, and run by hand.


def test_a_schedule_that_is_disabled_has_no_next_runs_until_it_is_enabled(dsn: str) -> None:
    task_id = add(dsn, "digest", "--cron", "0 8 * * *")
    plan(dsn, task_id, datetime(2040, 1, 1, 8, tzinfo=UTC))
    runs = show(dsn, task_id)["next_runs"]
    assert pgsched("task", "disable", task_id, dsn=dsn) == Ended(0, f"task {task_id}: disabled\n", "")
    assert show(dsn, task_id)["next_runs"] == []
    assert pgsched("task", "enable", task_id, dsn=dsn) == Ended(0, f"task {task_id}: enabled\n", "")
    assert show(dsn, task_id)["next_runs"] == runs


def test_a_paused_schedule_is_listed_as_paused(dsn: str) -> None:
    add(dsn, "digest", "--cron", "0 8 * * *", "--disabled")
    assert "pending, disabled" in pgsched("task", "list", dsn=dsn).stdout


@pytest.mark.parametrize("paused", [(), ("--disabled",)], ids=["enabled", "paused"])
@pytest.mark.parametrize("when", [("--cron", "0 8 1 1 *"), ("--every", "1d")], ids=["cron", "interval"])
def test_run_makes_a_copy_and_leaves_the_schedule_as_it_is(
    dsn: str, when: tuple[str, ...], paused: tuple[str, ...]
) -> None:
    task_id = add(dsn, "digest", *when, *paused, "--payload", '{"a": 1}')
    before = show(dsn, task_id)
    ended = pgsched("task", "run", task_id, dsn=dsn)
    (copy,) = pgsched("task", "list", "--parent", task_id, "--json", dsn=dsn).json()
    assert ended == Ended(0, f"task {task_id}: task {copy['id']} runs as its copy\n", "")
    assert (copy["schedule_type"], copy["enabled"], copy["payload"]) == ("one_time", True, {"a": 1})
    assert show(dsn, task_id) == before


# Declared in code.

Declare = Callable[[str], str]


@pytest.fixture
def declare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Declare:
    """Write an app with one handler, ``digest``, declared so; returns what --app takes."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def write(options: str) -> str:
        name = f"declared_by_test_{next(_modules)}"
        lines = ("from pgsched import App", "app = App()", f'@app.task("digest"{options})', "def digest(): ...", "")
        (tmp_path / f"{name}.py").write_text("\n".join(lines))
        importlib.invalidate_caches()
        return f"{name}:app"

    return write


def sync(dsn: str, app: str, *options: str) -> list[dict[str, str]]:
    found: list[dict[str, str]] = pgsched("schedule", "sync", "--app", app, *options, "--json", dsn=dsn).json()
    return found


def outcome(dsn: str, app: str, *options: str) -> str:
    (one,) = sync(dsn, app, *options)
    assert one["task_type"] == "digest"
    return one["outcome"]


def the_row(dsn: str) -> dict[str, Any]:
    (row,) = pgsched("task", "list", "--json", dsn=dsn).json()
    found: dict[str, Any] = row
    return found


def test_sync_adds_a_schedule_and_finds_it_in_step_the_next_time(dsn: str, declare: Declare) -> None:
    app = declare(', cron="0 8 * * mon", timezone="Europe/Berlin"')
    said = [pgsched("schedule", "sync", "--app", app, dsn=dsn) for _ in range(2)]
    assert [words_of(ended.stdout)[1:] for ended in said] == [[["digest", "added"]], [["digest", "unchanged"]]]
    row = the_row(dsn)
    assert (row["cron_expression"], row["timezone"]) == ("0 8 * * mon", "Europe/Berlin")


def test_sync_json_has_type_and_outcome_of_each(dsn: str, declare: Declare) -> None:
    app = declare(', cron="0 8 * * mon"')
    assert sync(dsn, app) == [{"task_type": "digest", "outcome": "added"}]
    assert sync(dsn, app) == [{"task_type": "digest", "outcome": "unchanged"}]


def test_sync_writes_what_changed_in_the_code(dsn: str, declare: Declare) -> None:
    outcome(dsn, declare(', cron="0 8 * * mon"'))
    assert outcome(dsn, declare(', every="2h"')) == "changed"
    assert the_row(dsn)["schedule_type"] == "repeating"


def test_sync_leaves_an_edit_until_the_code_changes(dsn: str, declare: Declare) -> None:
    before, after = declare(', cron="0 8 * * mon"'), declare(', cron="0 7 * * mon"')
    outcome(dsn, before)
    edit(dsn, the_row(dsn)["id"], "--cron", "0 9 * * mon")
    assert outcome(dsn, before) == "edited"
    assert the_row(dsn)["cron_expression"] == "0 9 * * mon"
    assert outcome(dsn, after) == "overwritten"
    assert the_row(dsn)["cron_expression"] == "0 7 * * mon"


def test_sync_only_reports_what_is_gone_from_the_code(dsn: str, declare: Declare) -> None:
    outcome(dsn, declare(', cron="0 8 * * mon"'))
    assert outcome(dsn, declare("")) == "orphaned"
    assert the_row(dsn)["enabled"] is True


def test_sync_prune_disables_what_is_gone_and_says_nothing_the_next_time(dsn: str, declare: Declare) -> None:
    outcome(dsn, declare(', cron="0 8 * * mon"'))
    gone = declare("")
    assert outcome(dsn, gone, "--prune") == "disabled"
    assert the_row(dsn)["enabled"] is False
    assert sync(dsn, gone, "--prune") == []


def test_sync_takes_over_and_enables_a_pruned_schedule_that_comes_back(dsn: str, declare: Declare) -> None:
    there = declare(', cron="0 8 * * mon"')
    outcome(dsn, there)
    outcome(dsn, declare(""), "--prune")
    sync(dsn, there)
    assert the_row(dsn)["enabled"] is True


def test_sync_leaves_a_schedule_that_was_paused_by_hand_paused(dsn: str, declare: Declare) -> None:
    outcome(dsn, declare(', cron="0 8 * * mon"'))
    pgsched("task", "disable", the_row(dsn)["id"], dsn=dsn)
    outcome(dsn, declare(', cron="0 9 * * mon"'))
    row = the_row(dsn)
    assert (row["enabled"], row["cron_expression"]) == (False, "0 9 * * mon")


def test_sync_prune_never_touches_a_schedule_that_no_code_declared(dsn: str, declare: Declare) -> None:
    add(dsn, "other", "--cron", "0 8 * * *")
    ended = pgsched("schedule", "sync", "--app", declare(""), "--prune", dsn=dsn)
    assert ended == Ended(0, "no schedules\n", "")
    assert the_row(dsn)["enabled"] is True


@pytest.mark.parametrize(
    ("app", "words"),
    [
        ("nothing", "app must be written as module:attribute"),
        ("no_such_module_anywhere:app", 'there is no module "no_such_module_anywhere"'),
        ("json:app", 'the module json has no "app"'),
        ("json:dumps", "must be a pgsched.App"),
    ],
)
def test_sync_of_an_app_that_cannot_be_loaded_is_wrong_usage(dsn: str, app: str, words: str) -> None:
    ended = pgsched("schedule", "sync", "--app", app, dsn=dsn)
    assert ended.code == 2
    assert words in ended.error


def test_sync_without_an_app_is_wrong_usage(dsn: str) -> None:
    ended = pgsched("schedule", "sync", dsn=dsn)
    assert ended.code == 2
    assert "Missing option '--app'" in ended.error


def test_sync_of_a_declaration_that_is_refused_names_it_and_writes_nothing(dsn: str, declare: Declare) -> None:
    ended = pgsched("schedule", "sync", "--app", declare(', cron="61 * * * *"'), dsn=dsn)
    assert ended.code == 2
    assert "61 * * * *" in ended.error
    assert pgsched("task", "list", "--json", dsn=dsn).json() == []


def test_sync_on_a_database_without_the_schema_says_so(empty_dsn: str, declare: Declare) -> None:
    ended = pgsched("schedule", "sync", "--app", declare(', cron="0 8 * * *"'), dsn=empty_dsn)
    assert ended.code == 1
    assert "pgsched migrate" in ended.error


# Planned afresh.


def test_replan_books_a_schedule_from_now(dsn: str) -> None:
    schedule, once = add(dsn, "mail", "--cron", "0 8 1 1 *"), add(dsn, "mail")
    booked = show(dsn, schedule)["next_run_at"]
    plan(dsn, schedule, datetime(2098, 1, 1, 8, tzinfo=UTC))
    ended = pgsched("schedule", "replan", schedule, once, dsn=dsn)
    assert ended.code == 1
    assert ended.stdout.startswith(f"task {schedule}: is due at ")
    assert ended.stderr == f"pgsched: task {once} has no schedule to plan\n"
    assert show(dsn, schedule)["next_run_at"] == booked


def test_replan_books_all_schedules_from_now(dsn: str) -> None:
    schedules = [add(dsn, "mail", "--cron", "0 8 1 1 *") for _ in range(2)]
    booked = show(dsn, schedules[0])["next_run_at"]
    for schedule in schedules:
        plan(dsn, schedule, datetime(2098, 1, 1, 8, tzinfo=UTC))
    assert pgsched("schedule", "replan", "--all", dsn=dsn) == Ended(0, "2 schedules replanned\n", "")
    assert [show(dsn, schedule)["next_run_at"] for schedule in schedules] == [booked] * 2


def test_replan_wants_to_know_which(dsn: str) -> None:
    assert pgsched("schedule", "replan", dsn=dsn).code == 2
    assert pgsched("schedule", "replan", "--all", "1", dsn=dsn).code == 2
