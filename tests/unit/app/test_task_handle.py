"""What type checkers see of handlers, and what options and arguments become."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import date
from pathlib import Path

import pytest

from pgsched import App, Context, PayloadMismatch, TaskSpec

PROGRAM = """
from __future__ import annotations
from datetime import date
from typing import Any
from pgsched import App, Context
from pgsched.flow import step

app = App()

@app.task("plain")
def plain(to: str, day: date | None = None) -> int:
    return 1

@app.task("on_loop")
async def on_loop(ctx: Context, to: str, copies: int = 1) -> date:
    return date.today()

@app.task("bare")
def bare(anything: Any) -> Any: ...

async def main() -> None:
    reveal_type(plain.with_options(delay=60).schedule(to="a", day=date.today()))
    reveal_type(plain.with_options().spec("a"))
    reveal_type(plain.result(1))
    reveal_type(await on_loop.result_async(1))
    reveal_type(on_loop.result(1))
    reveal_type(plain(to="a"))
    await on_loop(Context, "a")  # E
    await on_loop.with_options(queue="mail").schedule_async(to="a", copies=2)
    bare.with_options().schedule(anything=1)
    plain.schedule(to=1, delay=5)
    step(on_loop, {"to": "a"})
    plain.with_options(delay=60).schedule(to=5)  # E
    plain.with_options().schedule(too="a")  # E
    plain.with_options(dealy=60)  # E
    on_loop.with_options().schedule("a", copies="two")  # E
    on_loop.with_options().spec()  # E
"""
REVEALED = [
    "pgsched.domain.scheduled.Scheduled",
    "pgsched.domain.task_spec.TaskSpec",
    "int",
    "datetime.date",
    "datetime.date",
    "int",
]


@pytest.mark.slow
def test_type_checkers_see_the_arguments_of_handlers(tmp_path: Path) -> None:
    file = tmp_path / "tasks.py"
    file.write_text(PROGRAM)
    command = [
        sys.executable,
        "-m",
        "mypy",
        "--strict",
        "--config-file=",
        "--cache-dir",
        str(tmp_path / "cache"),
        str(file),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    wrong = {number for number, line in enumerate(PROGRAM.splitlines(), 1) if line.endswith("# E")}
    said = {int(number) for number in re.findall(r":(\d+): error", done.stdout)}
    assert said == wrong, done.stdout + done.stderr
    assert re.findall(r'Revealed type is "(?:builtins\.)?([\w.]+)"', done.stdout) == REVEALED


app = App()


@app.task("mail", queue="letters")
def mail(ctx: Context, to: str, day: date, *, copies: int = 1) -> None: ...


def test_arguments_by_place_and_name_become_the_payload_beside_the_options() -> None:
    spec = mail.with_options(delay=60, priority=9).spec("a", day=date(2030, 6, 1))
    assert spec == TaskSpec(
        task_type="mail", payload={"to": "a", "day": "2030-06-01"}, delay=60, priority=9, queue="letters"
    )


def test_an_argument_with_the_name_of_an_option_is_an_argument() -> None:
    one = App()

    @one.task("odd")
    def odd(delay: int, name: str) -> None: ...

    spec = odd.with_options(delay=60).spec(delay=5, name="n")
    assert (spec.payload, spec.delay, spec.name) == ({"delay": 5, "name": "n"}, 60, None)


def test_arguments_that_do_not_fit_are_refused() -> None:
    for args, kwargs, said in (
        (("a", "b", "c", "d"), {}, "it takes to, day, copies"),
        (("a",), {"to": "b"}, "it takes to, day, copies"),
        (("a",), {}, "missing argument 'day'"),
        (("a",), {"day": "soon"}, 'day must be a date, got "soon"'),
    ):
        with pytest.raises(PayloadMismatch, match=f"payload does not fit handler 'mail': {said}"):
            mail.with_options().spec(*args, **kwargs)
