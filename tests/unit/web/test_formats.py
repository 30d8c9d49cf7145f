from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from pgsched.db.queries.dashboard import MinuteCount
from pgsched.domain.errors import InvalidTask
from pgsched.domain.interval import Interval
from pgsched.web.dashboard.forms import comes_twice, moment, options_of, payload_of, whole_number, with_instants
from pgsched.web.formats import count, duration, limits, span, wall, when
from pgsched.web.services.history import Ended, History

NOON = datetime(2030, 6, 1, 12, 0, 30, tzinfo=UTC)


def test_time_is_written_in_utc_for_people_and_scripts() -> None:
    berlin = NOON.astimezone()
    assert when(berlin) == '<time datetime="2030-06-01T12:00:30.000Z">2030-06-01 12:00:30 UTC</time>'
    assert "–" in when(None)


@pytest.mark.parametrize(
    ("seconds", "words"), [(None, "–"), (0.25, "250 ms"), (9.5, "9.5 s"), (75, "1 m 15 s"), (90_000, "1 d 1 h")]
)
def test_span_has_its_largest_units(seconds: float | None, words: str) -> None:
    assert span(seconds) == words


def test_count_ends_at_ten_thousand() -> None:
    assert (count(9_999), count(10_000), count(10_001)) == ("9,999", "10,000", "10,000+")


@pytest.mark.parametrize("text", ["1h30m", "2mo1d", "250ms", "90d"])
def test_duration_is_read_back_as_it_is_written(text: str) -> None:
    assert duration(Interval.parse(text)) == text
    assert duration(None) == ""


def test_limits_are_told_in_words() -> None:
    assert limits({}) == "none"
    assert limits({"concurrency": 3, "rate": 10, "per": "1 minute"}) == "3 at once, 10 starts per 1 minute"


def test_empty_field_is_the_default_when_creating_and_empties_when_editing() -> None:
    assert options_of({"name": " ", "queue": ""}) == {}
    assert options_of({"name": " ", "queue": ""}, clearing=True) == {"name": None}


@pytest.mark.parametrize(
    ("call", "rule"),
    [
        (lambda: whole_number("priority", "9x"), "priority must be a whole number, got '9x'"),
        (lambda: whole_number("id", "9" * 5000), "id must be a whole number"),
        (lambda: whole_number("id", "٣"), "id must be a whole number"),
        (lambda: moment("at", "tomorrow"), "at must be a time such as"),
        (lambda: payload_of({"payload": "{"}), "payload must be JSON"),
        (lambda: payload_of({"payload": '{"a": 1, "a": 2}'}), "payload must be JSON: an object has the key 'a' twice"),
        (lambda: payload_of({"payload": "[" * 100_000}), "payload must be JSON"),
        (lambda: payload_of({"payload": "3"}), "payload must be a JSON object"),
    ],
)
def test_field_that_cannot_be_read_is_named_with_its_rule(call: object, rule: str) -> None:
    with pytest.raises(InvalidTask) as caught:
        call()  # type: ignore[operator]
    assert rule in str(caught.value)


def test_time_without_a_zone_is_in_utc() -> None:
    assert moment("at", "2030-06-01T12:00:30") == NOON
    assert moment("at", "2030-06-01T14:00:30+02:00") == NOON


def test_time_without_a_zone_is_on_the_wall_clock_of_the_schedule() -> None:
    form = {"timezone": "Europe/Berlin", "start": "2030-06-01T08:00", "at": "2030-06-01T08:00", "end": "", "name": "x"}
    assert with_instants(form) == form | {"start": "2030-06-01T06:00:00+00:00", "at": "2030-06-01T08:00:00+00:00"}
    assert with_instants({"start": "2030-06-01T08:00"}, "Europe/Berlin")["start"] == "2030-06-01T06:00:00+00:00"
    assert options_of(form | {"at": ""})["start"] == datetime(2030, 6, 1, 6, tzinfo=UTC)


def test_time_that_the_clocks_skip_is_refused_and_the_first_of_two_is_meant() -> None:
    with pytest.raises(
        InvalidTask, match="start must exist in Europe/Berlin, where the clocks skip it, got '2027-03-28T02"
    ):
        moment("start", "2027-03-28T02:30", "Europe/Berlin")
    assert moment("start", "2027-10-31T02:30", "Europe/Berlin") == datetime(2027, 10, 31, 0, 30, tzinfo=UTC)
    assert comes_twice("2027-10-31T02:30", "Europe/Berlin")
    assert not comes_twice("2027-10-31T02:30+02:00", "Europe/Berlin")
    assert not comes_twice("2027-10-31T03:30", "Europe/Berlin")


@pytest.mark.parametrize(
    ("text", "zone", "shown"),
    [
        ("2030-06-01T06:00:00.5Z", "", "2030-06-01T06:00:00"),
        ("2030-06-01T06:00:00Z", "Europe/Berlin", "2030-06-01T08:00:00"),
        ("2030-06-01T06:00", "Europe/Berlin", "2030-06-01T06:00:00"),
        ("2030-06-01T06:00Z", "Europe/Nowhere", ""),
        ("tomorrow", "", ""),
        ("", "", ""),
    ],
)
def test_field_for_a_time_has_it_on_the_wall_clock_of_its_zone(text: str, zone: str, shown: str) -> None:
    assert wall(text, zone) == shown


class Table:
    """Attempts by minute, and what was asked for."""

    def __init__(self) -> None:
        self.rows: list[MinuteCount] = []
        self.asked: list[int] = []
        self.time = 0.0

    def add(self, minutes_ago: int, number: int, *, now: datetime) -> None:
        minute = now.replace(second=0) - timedelta(minutes=minutes_ago)
        row = MinuteCount(minute=minute, queue="a", status="completed", number=number, milliseconds=1.0)
        self.rows.append(row)

    async def load(self, minutes: int) -> list[MinuteCount]:
        self.asked.append(minutes)
        begin = (NOON + timedelta(seconds=self.time)).replace(second=0) - timedelta(minutes=minutes)
        return [row for row in self.rows if row.minute >= begin]

    def history(self) -> History:
        return History(self.load, clock=lambda: self.time, now=lambda: NOON + timedelta(seconds=self.time))


def test_history_reads_the_hour_once_and_then_what_is_new() -> None:
    table = Table()
    history = table.history()
    table.add(5, 7, now=NOON)
    table.add(0, 1, now=NOON)
    first = asyncio.run(history.minutes())
    assert len(first) == 60
    assert sum((sum(one.values()) for one in first.values()), 0) == 8
    table.add(0, 2, now=NOON)  # the minute under way has grown
    table.time = 10.0
    second = asyncio.run(history.minutes())
    assert table.asked == [60, 2]
    assert second[NOON.replace(second=0)] == Counter(completed=3)
    assert second[NOON.replace(second=0) - timedelta(minutes=5)] == Counter(completed=7)


def test_history_is_asked_seldom() -> None:
    table = Table()
    history = table.history()
    for table.time in (0.0, 0.5, 1.0, 2.5):
        asyncio.run(history.minutes())
    assert len(table.asked) == 2


def test_history_forgets_what_is_older_than_an_hour() -> None:
    table = Table()
    history = table.history()
    table.add(59, 7, now=NOON)
    asyncio.run(history.minutes())
    table.time = 120.0
    table.add(0, 1, now=NOON + timedelta(seconds=120))
    found = asyncio.run(history.minutes())
    assert sum(sum(one.values()) for one in found.values()) == 1
    assert len(found) == 60


def test_history_counts_what_was_committed_late() -> None:
    table = Table()
    history = table.history()
    asyncio.run(history.minutes())
    table.add(1, 4, now=NOON)
    table.time = 30.0
    assert sum(sum(one.values()) for one in asyncio.run(history.minutes()).values()) == 4


def test_history_keeps_what_it_read_when_nothing_ends_any_more() -> None:
    table = Table()
    history = table.history()
    for ago in range(6):
        table.add(ago, 1, now=NOON)
    for table.time in (0.0, 70.0, 130.0, 190.0):
        found = asyncio.run(history.minutes())
        assert sum(sum(one.values()) for one in found.values()) == 6


def test_history_tells_queues_apart() -> None:
    table = Table()
    history = table.history()
    minute = NOON.replace(second=0)
    table.rows = [
        MinuteCount(minute=minute - timedelta(minutes=ago), queue=queue, status=status, number=number, milliseconds=1.0)
        for ago, queue, status, number in ((5, "a", "completed", 3), (0, "a", "failed", 2), (0, "b", "lost", 1))
    ]
    minutes = asyncio.run(history.minutes())
    assert minutes[minute] == Counter(failed=2, lost=1)
    assert history.by_queue() == {"a": Ended(5, 2), "b": Ended(1, 1)}
