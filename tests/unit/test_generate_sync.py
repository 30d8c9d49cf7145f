"""The modules for threads are those that ``make sync`` writes, and what it writes is right: code, names and English."""

from __future__ import annotations

import re

import pytest

from tools.generate_sync import CHECKOUT, PHRASES, SOURCES, NotSynchronous, generate, target_of, to_sync

HEADER = "# Generated from async_"


@pytest.mark.parametrize("source", SOURCES)
def test_a_generated_file_is_what_would_be_written_now(source: str) -> None:
    same = (CHECKOUT / target_of(source)).read_text(encoding="utf-8") == generate(source)
    assert same, f"{target_of(source)} is not up to date: make sync"


def test_a_generated_file_says_so_and_no_other_does() -> None:
    modules = (CHECKOUT / "pgsched").rglob("*.py")
    generated = {place for place in modules if place.read_text(encoding="utf-8").startswith(HEADER)}
    assert generated == {CHECKOUT / target_of(source) for source in SOURCES}


@pytest.mark.parametrize("folder", ["client", "db"])
def test_what_is_written_for_event_loops_is_generated_for_threads(folder: str) -> None:
    written = {str(place.relative_to(CHECKOUT)) for place in (CHECKOUT / "pgsched" / folder).rglob("async_*.py")}
    assert written == {source for source in SOURCES if source.startswith(f"pgsched/{folder}/")}


def test_no_phrase_is_left_that_nobody_says() -> None:
    said = " ".join(" ".join((CHECKOUT / source).read_text(encoding="utf-8").split()) for source in SOURCES)
    assert [phrase for phrase, _ in PHRASES if phrase not in said] == []


def test_articles_suit_the_nouns_that_follow() -> None:
    wrong = re.compile(r"\b(?:an (?:``)?(?:with|Client|Connection|Session|Lock)|a (?:``)?[aei])\w*")
    texts = {source: (CHECKOUT / target_of(source)).read_text(encoding="utf-8") for source in SOURCES}
    assert {source: found for source, text in texts.items() if (found := wrong.findall(text))} == {}


@pytest.mark.parametrize(
    ("written", "generated"),
    [
        (
            "async def get(self) -> int:\n    return await self._get()\n",
            "def get(self) -> int:\n    return self._get()\n",
        ),
        ("async with lock, await taken() as one:\n    pass\n", "with lock, taken() as one:\n    pass\n"),
        ("async for row in rows_async(link):\n    pass\n", "for row in rows(link):\n    pass\n"),
        ("class AsyncHeld(_AsyncLease): ...\n", "class Held(_Lease): ...\n"),
        (
            "def __aenter__(self): ...\ndef __aexit__(self): ...\n",
            "def __enter__(self): ...\ndef __exit__(self): ...\n",
        ),
        ("from pgsched.db.async_enlist import run_on_async\n", "from pgsched.db.enlist import run_on\n"),
        ("from contextlib import asynccontextmanager\n", "from contextlib import contextmanager\n"),
        ("lent: AsyncIterator[CallAsync]\n", "lent: Iterator[Call]\n"),
        ("import asyncio  # async only\nx = 1\n", "x = 1\n"),
        ("x = 1\nif loop:  # async only\n    x = 2\n    y = 3\nz = 4\n", "x = 1\nz = 4\n"),
        ('raise TypeError("must be an AsyncConnection")\n', 'raise TypeError("must be a Connection")\n'),
        ('"""Use it in an ``async with``."""\n', '"""Use it in a ``with``."""\n'),
        (
            '"""A lock of an AsyncClient\'s, for an\n``async with``."""\n',
            '"""A lock of a Client\'s, for a ``with``."""\n',
        ),
    ],
)
def test_code_and_text_become_those_for_threads(written: str, generated: str) -> None:
    assert to_sync(written) == generated


def test_docstrings_are_wrapped_anew_and_code_is_not() -> None:
    code = "    x = [" + "1, " * 60 + "]\n"
    text = f'    """{"one " * 20}an ``async with``\n    two two\n\n    three\n    three\n    """\n{code}'
    wrapped = f'    """{"one " * 20}a ``with`` two two\n\n    three three\n    """\n{code}'
    assert to_sync(f"def f():\n{text}") == f"def f():\n{wrapped}"


@pytest.mark.parametrize(
    "line", ["import asyncio", "await_all(one)", "# the event loop goes on", '"""A coroutine."""', "lock = Async()"]
)
def test_what_would_still_speak_of_event_loops_is_refused(line: str) -> None:
    with pytest.raises(NotSynchronous, match=f"line 2 is not synchronous: {re.escape(line)}"):
        to_sync(f"x = 1\n{line}\n")
