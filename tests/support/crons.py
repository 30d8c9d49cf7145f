"""Random cron expressions, readable and not, and random instants: for tests that hold one reading against another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random

from pgsched.domain.interval import Interval

ZONES = [
    "UTC",
    "Europe/Berlin",
    "Europe/Dublin",
    "Europe/London",
    "America/New_York",
    "America/Sao_Paulo",
    "America/St_Johns",
    "America/Santiago",
    "Africa/Cairo",
    "Asia/Kolkata",
    "Asia/Tehran",
    "Australia/Lord_Howe",
    "Australia/Sydney",
    "Antarctica/Casey",
    "Antarctica/Troll",
    "Pacific/Apia",
    "Pacific/Chatham",
    "Pacific/Kwajalein",
    "Etc/GMT+12",
    "CET",
    "EST",
]
"""Half an hour, three hours and whole days of change; names that are abbreviations, too."""

_RANGES = {"second": (0, 59), "minute": (0, 59), "hour": (0, 23), "day": (1, 31), "month": (1, 12), "weekday": (0, 7)}
_NAMES = {
    "month": ["jan", "feb", "Mar", "apr", "may", "jun", "jul", "AUG", "sep", "oct", "nov", "dec"],
    "weekday": ["sun", "mon", "Tue", "wed", "thu", "fri", "SAT"],
}
_JUNK = [
    *"0123456789*/-,?#lLwWh@ \t\n\x0b\u00a0\u3000\u0131\u0130\u212aé",
    "mon",
    "jan",
    "7/2",
    "1#2#3",
    "L-",
    "-l",
    "0x1",
    "٣",
]
_OPTIONS = [
    "days=both",
    "days=either",
    "skipped=run",
    "skipped=skip",
    "repeated=first",
    "repeated=second",
    "Repeated=both",
    "weeks=2@2030-01-07",
    "weeks=3@1970-01-01",
]
_JUNK += [
    "=",
    "=both",
    "weeks=2@2030-02-30",
    "weeks=1@2030-01-07",
    "weeks=99@2030-01-07",
    "days=",
    " except=",
    "instead=workday",
]
_ALIASES = ["@hourly", "@Daily", "@midnight", "@weekly", "@monthly", "@yearly", "@ANNUALLY", "@reboot", "@", "@daily x"]


def word(random: Random, kind: str) -> str:
    """Return one item of a field, nearly always readable."""
    low, high = _RANGES[kind]
    number = random.randint(low, high)
    shape = random.random()
    if shape < 0.3:
        return str(number)
    if shape < 0.4:
        return f"*/{random.randint(1, high)}"
    if shape < 0.5:
        return f"{number}/{random.randint(1, high)}"
    if shape < 0.75:
        other = random.randint(low, high)
        step = f"/{random.randint(1, high)}" if random.random() < 0.4 else ""
        return f"{min(number, other)}-{max(number, other)}{step}"
    if kind == "day":
        return random.choice(["L", f"L-{random.randint(1, 30)}", f"{number}W", "LW", f"l-{random.randint(1, 9)}w"])
    if kind == "weekday" and shape < 0.87:
        return random.choice(
            [f"{number}#{random.randint(1, 5)}", f"{number}L", f"L{number}", "fri-sun", "mon#2", "sunL"]
        )
    return random.choice(_NAMES[kind]) if kind in _NAMES else str(number)


def day(random: Random) -> str:
    """Return a day of every year, or of one."""
    text = (datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=random.randint(0, 365 * 20))).date().isoformat()
    return text if random.random() < 0.3 else text[5:]


def expression(random: Random) -> str:
    """Return an expression of five or six fields that is mostly readable."""
    if random.random() < 0.02:
        return random.choice(_ALIASES)
    kinds = list(_RANGES)[random.random() < 0.85 :]
    fields = []
    for kind in kinds:
        plain = 0.5 if kind in ("day", "month", "weekday") else 0.15
        if random.random() < plain:
            fields.append("?" if kind in ("day", "weekday") and random.random() < 0.2 else "*")
        else:
            fields.append(",".join(word(random, kind) for _ in range(random.choice([1, 1, 1, 2, 3]))))
    if random.random() < 0.3:
        fields += random.sample(_OPTIONS, random.randint(1, 3))
        if random.random() < 0.3:
            fields.append("except=" + ",".join(day(random) for _ in range(random.randint(1, 20))))
            fields += random.choice([[], ["instead=workday"], ["instead=workday"], ["instead=skip"]])
    return " ".join(fields)


def text(random: Random) -> str:
    """Return an expression, or one with a few characters changed, or noise."""
    if random.random() < 0.1:
        return "".join(random.choice(_JUNK) for _ in range(random.randint(0, 40)))
    letters = list(expression(random))
    for _ in range(random.choice([0, 1, 1, 2, 4])):
        place = random.randint(0, len(letters))
        letters[place : place + random.randint(0, 2)] = random.choice(_JUNK)
    return "".join(letters) + "0" * random.choice([0] * 40 + [990])


def interval(random: Random) -> Interval:
    """Return an interval of months, days and elapsed time, or of some of them, of a millisecond to some years."""
    months = random.choice([0, 0, 1, 2, 3, 12, random.randint(1, 60)])
    days = random.choice([0, 0, 1, 7, 30, random.randint(1, 400)])
    elapsed = random.choice([0, 3_600_000_000, 1_800_000_000, 1_000, random.randint(1_000, 10**12)])
    return Interval(months, days, elapsed or (0 if months or days else 90_000_000))


def instant(random: Random) -> datetime:
    """Return an instant from 1970 on, mostly of these years, some of the far future, a third of them whole seconds."""
    first = datetime(1970, 1, 1, tzinfo=UTC)
    years = random.choice([60, 60, 60, 70, 130, 8000])
    moment = first + timedelta(seconds=random.uniform(0, years * 365.2425 * 86_400))
    return moment.replace(microsecond=0) if random.random() < 0.4 else moment


def near(random: Random, moment: datetime) -> datetime:
    """Return an instant within two days of another, often a whole hour."""
    close = moment + timedelta(seconds=random.uniform(-172_800, 172_800))
    return close.replace(minute=0, second=0, microsecond=0) if random.random() < 0.4 else close
