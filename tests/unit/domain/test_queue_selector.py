"""What a worker is told of its queues: names, patterns, numbers at once, weights."""

from __future__ import annotations

import pytest

from pgsched.domain.errors import ConfigError
from pgsched.domain.queue_selector import fits_like, glob_of, parse_queue_spec, parse_queue_specs
from pgsched.domain.settings import WorkerSettings


@pytest.mark.parametrize(
    ("text", "name", "most", "weight"),
    [
        ("mail", "mail", None, 1),
        ("mail:5", "mail", 5, 1),
        ("mail@3", "mail", None, 3),
        ("mail:5@3", "mail", 5, 3),
        ("a:b", "a:b", None, 1),
        ("a:1:2", "a:1", 2, 1),
        ("me@host", "me@host", None, 1),
        ("mail:", "mail:", None, 1),
        (r"mail\:5", "mail:5", None, 1),
        (r"mail\@3:2", "mail@3", 2, 1),
        (r"a\\b", "a\\b", None, 1),
        (r"all\*", "all*", None, 1),
        ("Größe:2", "Größe", 2, 1),
    ],
)
def test_a_queue_by_name(text: str, name: str, most: int | None, weight: int) -> None:
    spec = parse_queue_spec(text)
    assert (spec.name, spec.most, spec.weight, spec.like) == (name, most, weight, None)
    assert spec.matches(name)
    assert not spec.matches(name + "x")


@pytest.mark.parametrize(
    ("text", "like", "fits", "does_not"),
    [
        ("mail.*", "mail.%", ["mail.", "mail.a", "mail.a.b"], ["mail", "xmail.a", "mailxa"]),
        ("q?", "q_", ["q1", "qx"], ["q", "q12"]),
        ("*", "%", ["a", "x.y", "a\nb"], []),
        ("50%_*", r"50\%\_%", ["50%_", "50%_x"], ["500_x", "50%x"]),
        (r"a\*b*", "a*b%", ["a*b", "a*bc"], ["axbc"]),
        ("*:2@5", "%", ["anything"], []),
        ("a.[b]*", "a.[b]%", ["a.[b]c"], ["a.b"]),
    ],
)
def test_a_pattern(text: str, like: str, fits: list[str], does_not: list[str]) -> None:
    spec = parse_queue_spec(text)
    assert spec.like == like
    assert all(map(spec.matches, fits))
    assert not any(map(spec.matches, does_not))


@pytest.mark.parametrize("text", ["mail.*", "q?", r"a\*b*", r"a\\b?", "50%_*"])
def test_a_pattern_is_shown_as_it_was_given(text: str) -> None:
    like = parse_queue_spec(text).like
    assert like is not None
    assert parse_queue_spec(glob_of(like)).like == like
    assert glob_of(like) == text


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", r"a name must have 1 to 100 characters, got ''"),
        (":5", r"a name must have 1 to 100 characters, got ':5'"),
        ("x" * 101, "a name must have 1 to 100 characters"),
        ("a\nb", "must not contain control characters"),
        ("mail:0", r"queue 'mail:0': at once must be between 1 and 10000, got 0"),
        ("mail:10001", "at once must be between 1 and 10000, got 10001"),
        ("mail@0", r"queue 'mail@0': weight must be between 1 and 1000, got 0"),
        ("mail\\", "must not end in a single backslash"),
    ],
)
def test_what_makes_no_sense_is_refused(text: str, problem: str) -> None:
    with pytest.raises(ConfigError, match=problem):
        parse_queue_spec(text)


@pytest.mark.parametrize("texts", [("mail", "mail:5"), ("mail.*", "mail.*@2")])
def test_no_queue_comes_twice(texts: tuple[str, ...]) -> None:
    with pytest.raises(ConfigError, match="must not name a queue twice"):
        parse_queue_specs(texts)
    with pytest.raises(ConfigError):
        WorkerSettings(queues=texts)


@pytest.mark.parametrize(
    ("pattern", "queue", "fits"),
    [
        ("tenant.%", "tenant.7", True),
        ("tenant.%", "tenantx7", False),
        ("a_c", "abc", True),
        ("a_c", "abbc", False),
        (r"a\%", "a%", True),
        (r"a\%", "ab", False),
        (r"a\_", "a_", True),
        ("%", "line\nend", True),
    ],
)
def test_patterns_of_workers_are_those_of_like(pattern: str, queue: str, fits: bool) -> None:
    assert fits_like(queue, pattern) is fits
