"""The database's clock is set ahead and back, crosses a change of daylight saving, and changes its zone."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta

from psycopg import sql

from chaos.faults.faked_clock import BY_THE_CLOCK, COUNTED_TO_A_LIMIT, FakedClock, FakedSystem, library
from chaos.faults.model import Fault, Shape, Size
from chaos.faults.server import TERMINATE_SOME
from chaos.faults.trial import Trial
from pgsched.client.client import Client

HOUR, DAY = 3600.0, 86_400.0
MISSING = "libfaketime is missing: apt-get install faketime"

# As docs/clocks.md has them. `by` is how far the clock was set back.
MOVE_TASKS = """
update pgsched.tasks set next_run_at = next_run_at - make_interval(secs => %(by)s)
where schedule_type = 'one_time' and status = 'pending' and updated_at > now() and next_run_at > now()
"""
MOVE_LEASES = """
update pgsched.tasks set locked_until = now()
where status = 'running' and locked_until > now() + interval '1 day'
"""
FORGET_STARTS = "delete from pgsched.starts where at > now()"


class _Faked(Fault):
    """A server whose clock is set by the trial."""

    own_server = True
    without: tuple[str, ...] = (COUNTED_TO_A_LIMIT,)
    begins_at: float = 0.0

    def __init__(self) -> None:
        self._clock: FakedClock | None = None
        self._system: FakedSystem | None = None
        self._problems: list[str] = []

    def missing(self) -> str | None:
        return None if library() else MISSING

    @property
    def clock(self) -> FakedClock:
        """The server's."""
        assert self._clock is not None
        return self._clock

    def set_up(self, trial: Trial) -> None:
        assert trial.server is not None
        self._clock = FakedClock(trial.server)
        self._clock.install(self.begins_at - time.time() if self.begins_at else 0.0)
        trial.system = self._system = FakedSystem(trial.dsn, without=self.without)

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._problems

    def tear_down(self, trial: Trial) -> None:
        if self._system is not None:
            self._system.close()


class ClockOfTheDatabase(_Faked):
    """The clock of the database itself, which all times of pgsched come from, is set ahead by a day, and back.

    A jump ahead ends every lease: a task that was running runs again, and the first attempt is fenced. A jump back
    leaves what was written meanwhile in the future: nothing is lost, it is late by the jump until somebody moves it
    with the statements of docs/clocks.md.
    """

    name = "clock-of-the-database"
    does = (
        "The database's clock jumps a day ahead and back, an hour back and ahead, and by seconds, under load; after "
        "each jump back, what was written in the future is moved."
    )
    injects = "jumps"
    without = (*BY_THE_CLOCK, COUNTED_TO_A_LIMIT)

    def __init__(self) -> None:
        super().__init__()
        self._lost = 0
        self._in_the_future = 0
        self._stood = 0.0

    def inject(self, trial: Trial, chance: random.Random) -> int:
        offsets = [DAY, 0.0, -HOUR, 0.0]
        if not trial.size.short:
            offsets += [-3.0, 0.0, 3.0, 2.0, DAY, 2 * DAY, DAY, 0.0, -HOUR, chance.uniform(-HOUR, HOUR), 0.0]
        for offset in offsets:
            self._jump(trial, offset)
            trial.pause(0.6 if trial.size.short else chance.uniform(2.0, 4.0))
        with trial.books() as books:
            row = books.execute("select count(*) as n from pgsched.executions where status = 'lost'").fetchone()
        self._lost = int(row["n"]) if row else 0
        return len(offsets)

    def _jump(self, trial: Trial, offset: float) -> None:
        back = self.clock.offset - offset
        self.clock.set(offset)
        if back < HOUR:
            return  # what is in the future by seconds is late by seconds
        if not trial.size.short:
            trial.pause(1.0)  # as long as it takes somebody to notice
        with trial.books() as books:
            self._in_the_future += books.execute(MOVE_TASKS, {"by": back}).rowcount
            books.execute(MOVE_LEASES)
            books.execute(FORGET_STARTS)
        with Client(trial.dsn) as client:
            client.replan_all()

    def tell(self) -> Iterable[str]:
        yield (
            f"{self._in_the_future:,} tasks and retries that were written in the future were moved; {self._lost:,} "
            "attempts lost their lease to a jump ahead, and ran again under another token"
        )

    def check(self, trial: Trial) -> Iterable[str]:
        yield from super().check(trial)
        with trial.books() as books:
            row = books.execute(
                "select count(*) filter (where finished_at > now() + interval '1 hour') as n from pgsched.executions"
            ).fetchone()
        if not row or not row["n"]:
            yield "no execution is in the future: the clock was not ahead"
        if not self._in_the_future:
            yield "nothing was left in the future by a jump back: the fault did not strike"


SPRING, AUTUMN = datetime(2026, 3, 29, tzinfo=UTC), datetime(2026, 10, 25, tzinfo=UTC)
"""The days on which the clocks of Berlin change, at 01:00 UTC: as in docs/dst_conformance.md."""
TICKS: Mapping[str, tuple[str, str]] = {
    "30 2 * * *": ("01:00", "00:30"),
    "0 3 * * *": ("01:00", "02:00"),
    "15,45 2 * * *": ("01:00", "00:15 00:45"),
    "*/20 2 * * *": ("", "00:00 00:20 00:40 01:00 01:20 01:40"),
    "*/30 * * * *": ("00:00 00:30 01:00 01:30 02:00", "00:00 00:30 01:00 01:30 02:00"),
    "15,45 2 * * * skipped=skip": ("", "00:15 00:45"),
    "30 2 * * * repeated=second": ("01:00", "01:30"),
    "30 2 * * * repeated=both": ("01:00", "00:30 01:30"),
}
"""By expression, the ticks in UTC of the night on which the clocks go forward, and of that on which they go back."""
NIGHT = timedelta(hours=2, minutes=15)
STEP = timedelta(minutes=1)


class DaylightSaving(_Faked):
    """Workers run while the database's clock crosses both changes of a year, minute by minute."""

    name = "daylight-saving"
    does = (
        "The database's clock crosses both changes of daylight saving in Berlin, a minute every tenth of a second, "
        "while schedules of that zone run."
    )
    injects = "changes"
    in_tests = False
    begins_at = (SPRING - timedelta(minutes=20)).timestamp()

    def shape(self, size: Size) -> Shape:
        # Ten hours pass in a minute here, and heartbeats come by the true time.
        return Shape(options=("--lease", "36000"))

    def inject(self, trial: Trial, chance: random.Random) -> int:
        nights = (SPRING, AUTUMN)
        for place, night in enumerate(nights):
            first = night - timedelta(minutes=5)
            if place:
                self.clock.set(first.timestamp() - time.time())
            ids = self._schedule(trial, first)
            moment = first
            while moment < night + NIGHT:
                moment += STEP
                self.clock.set(moment.timestamp() - time.time())
                trial.pause(0.1)
            self._wait(trial, ids)
            self._judge(trial, ids, place)
        return len(nights)

    def _schedule(self, trial: Trial, first: datetime) -> dict[str, int]:
        with trial.books() as books:
            ids = {}
            for expression in TICKS:
                row = books.execute(
                    "select pgsched.schedule('tick', cron_expression => %s, timezone => 'Europe/Berlin',"
                    " on_missed => 'all', max_attempts => 1000) as id",
                    (expression,),
                ).fetchone()
                assert row is not None
                ids[expression] = int(row["id"])
        return ids

    def _wait(self, trial: Trial, ids: Mapping[str, int]) -> None:
        """Wait until every tick that is due has run: tasks that came before them are first."""
        deadline = time.monotonic() + 60
        with trial.books() as books:
            while books.execute(
                "select id from pgsched.tasks where id = any(%s) and (attempts > 0 or next_run_at <= now()) limit 1",
                (list(ids.values()),),
            ).fetchone():
                assert time.monotonic() < deadline, "ticks that are due have not run after 60 s"
                trial.pause(0.1)

    def _judge(self, trial: Trial, ids: Mapping[str, int], place: int) -> None:
        night = (SPRING, AUTUMN)[place]
        with trial.books() as books:
            for expression, id in ids.items():
                rows = books.execute(
                    "select scheduled_for from pgsched.executions where task_id = %s and status = 'completed'"
                    " order by scheduled_for",
                    (id,),
                ).fetchall()
                ran = " ".join(
                    f"{row['scheduled_for'].astimezone(UTC):%H:%M}" for row in rows if row["scheduled_for"] >= night
                )
                if ran != TICKS[expression][place]:
                    self._problems.append(
                        f"{expression!r} ran at {ran!r} of {night:%F}, not {TICKS[expression][place]!r}"
                    )
            books.execute("select pgsched.disable(id) from unnest(%s::bigint[]) id", (list(ids.values()),))


ZONES = ("America/New_York", "Asia/Kolkata", "Pacific/Chatham", "Europe/London", "America/St_Johns", "Asia/Tokyo")


class ServerZoneChanged(Fault):
    """The server's TimeZone is changed under load, in every place where it can be set."""

    name = "server-zone-changed"
    does = (
        "The server's TimeZone changes under load: for the server, the database and the role; sessions are ended in "
        "between."
    )
    injects = "changes"
    own_server = True
    in_tests = False

    def __init__(self) -> None:
        self._problems: list[str] = []

    def inject(self, trial: Trial, chance: random.Random) -> int:
        rounds = 2 if trial.size.short else 12
        seen: set[tuple[object, ...]] = set()
        with trial.books() as books:
            for number in range(rounds):
                zone = sql.Literal(ZONES[number % len(ZONES)])
                places = ("alter system", "alter database postgres", "alter role postgres")
                place = sql.SQL(places[number % len(places)])
                books.execute(sql.SQL("{} set timezone = {}").format(place, zone))
                books.execute("select pg_reload_conf()")
                books.execute(TERMINATE_SOME, (str(chance.random()),))
                trial.pause(0.5 if trial.size.short else chance.uniform(1.0, 2.0))
                seen.add(self._booked(trial))
        if len(seen) != 1:
            self._problems.append(f"the same schedules were booked differently: {sorted(map(str, seen))}")
        return rounds

    def _booked(self, trial: Trial) -> tuple[object, ...]:
        """Book the same schedules by a new session, and return their ticks."""
        with trial.books() as fresh, fresh.transaction(force_rollback=True):
            ticks = []
            for expression, zone in (("0 12 1 1 *", "UTC"), ("30 2 1 1 *", "Europe/Berlin"), ("0 0 1 1 *", None)):
                row = fresh.execute(
                    "insert into pgsched.tasks (task_type, cron_expression, timezone, enabled)"
                    " values ('tick', %s, coalesce(%s, 'UTC'), false) returning next_run_at, scheduled_for",
                    (expression, zone),
                ).fetchone()
                assert row is not None
                ticks.append(row["scheduled_for"].astimezone(UTC))
            return tuple(ticks)

    def check(self, trial: Trial) -> Iterable[str]:
        yield from self._problems
        with trial.books() as books:
            row = books.execute("select current_setting('timezone') as zone").fetchone()
        if row is None or row["zone"] == "Etc/UTC":
            yield "the zone of a new session is still that of before: the fault did not strike"
