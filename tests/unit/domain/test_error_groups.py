"""Errors that are the same but for what differs from task to task."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from pgsched.domain.error_groups import MAX_HEADLINE, MAX_MESSAGE, group_of, headline, normalized


@pytest.mark.parametrize(
    ("error", "exception", "message"),
    [
        ("ValueError: order 17 is gone\n\nTraceback …", "ValueError", "order <n> is gone"),
        ("psycopg.errors.UniqueViolation: key (id)=(5)", "UniqueViolation", "key (id)=(<n>)"),
        ("KeyError: 'customer'", "KeyError", "<text>"),
        ("RuntimeError", "RuntimeError", ""),
        ("timed out after 0.5 s", "", "timed out after <n> s"),
        (
            "the lease of worker 0198c2f1-3c2b-7d34-8b5a-1c9d7e6f5a4b ran out",
            "",
            "the lease of worker <uuid> ran out",
        ),
        ("httpx.HTTPError: 503 of https://example.com/a?token=secret", "HTTPError", "<n> of <url>"),
        ("E: at 2026-11-30T17:00:01.123Z and 2026-11-30 08:00", "E", "at <time> and <time>"),
        ("E: commit deadbeef01 at 0x7f3a, rows 1, 2, 3", "E", "commit <hex> at <hex>, rows <n>"),
        ("E: took -1.5e3ms of 90%, 1,234 times", "E", "took <n>ms of <n>%, <n> times"),
        ("E: it's what Ann's file isn't", "E", "it's what Ann's file isn't"),
        ('E: no "such \\"thing\\"" here', "E", "no <text> here"),
        ("E: mail to ann@example.com failed", "E", "mail to <email> failed"),
        ("E: host7 and part_12", "E", "host<n> and part_<n>"),
        ("Discard: not today\n\nValueError: 5", "Discard", "not today"),
        ("  ValueError:   two\n  lines 7 ", "ValueError", "two lines <n>"),
    ],
)
def test_what_differs_from_task_to_task_is_replaced(error: str, exception: str, message: str) -> None:
    assert group_of(error) == (exception, message)


@given(st.text())
def test_any_text_has_a_group_of_bounded_length(text: str) -> None:
    found = group_of(text)
    assert len(found.message) <= MAX_MESSAGE
    assert len(found.exception) <= MAX_HEADLINE
    assert len(found.fingerprint) == 16


@given(st.text(alphabet=st.sampled_from("ab19 .,:-'\"`<>/@nx0T\\\n…{}=_%eE")))
def test_normalizing_again_changes_nothing(text: str) -> None:
    once = normalized(text)
    assert normalized(once) == once


@given(st.text())
def test_the_headline_has_the_group_of_the_whole(text: str) -> None:
    assert group_of(headline(text)) == group_of(text)


@given(st.integers(0), st.integers(0), st.uuids(), st.uuids())
def test_numbers_and_ids_make_no_other_group(one: int, other: int, a: UUID, b: UUID) -> None:
    text = "ValueError: order {} of {} is gone"
    assert group_of(text.format(one, a)).fingerprint == group_of(text.format(other, b)).fingerprint


@given(st.text(st.characters(exclude_characters="'\\"), max_size=50).filter(lambda text: "\n\n" not in text))
@example("12:30")
@example("key of 2026-11-30 for ann@example.org")
def test_what_is_quoted_is_not_shown(secret: str) -> None:
    assert group_of(f"E: token '{secret}' is refused").message == "token <text> is refused"


def test_different_words_are_different_groups() -> None:
    assert group_of("E: order 5 is gone").fingerprint != group_of("E: order 5 is late").fingerprint
