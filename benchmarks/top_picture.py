"""The picture of docs/top.md: ``python -m benchmarks.top_picture [FILE]`` runs a load and draws `pgsched top`.

Two workers serve four queues; the tasks take their time and say how far they are. An SVG is written.
"""

from __future__ import annotations

import io
import re
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from pgsched.cli.top_state import View
from pgsched.cli.top_view import Screen, draw
from pgsched.client.client import Client
from pgsched.db.database import Database
from pgsched.db.embedded.server import EmbeddedServer
from pgsched.db.migrations.runner import migrate
from pgsched.domain.task_spec import TaskSpec
from pgsched.ops.activity import read_activity
from tests.support.processes import PgschedRunner
from tests.support.waiting import wait_until

FILE = Path(__file__).resolve().parents[1] / "docs" / "top.svg"
COLUMNS, LINES = 104, 30
APP = """
import asyncio, random
from pgsched import App, Context
app = App()

@app.task("email", queue="mail")
async def email(to: str) -> None:
    await asyncio.sleep(random.uniform(0.02, 0.2))

@app.task("export", queue="exports")
async def export(rows: int, ctx: Context) -> None:
    for row in range(rows):
        ctx.progress({"done": row, "of": rows})
        await asyncio.sleep(random.uniform(0.05, 0.15))

@app.task("thumbnail", queue="images", max_attempts=4)
async def thumbnail(image: int) -> None:
    await asyncio.sleep(random.uniform(0.1, 0.4))
    if image % 90 == 5:
        raise ValueError("no image")

@app.task("invoice", queue="billing", max_attempts=1)
async def invoice(number: int) -> None:
    await asyncio.sleep(0.2)
    if number % 99 == 7:
        raise ValueError("no such customer")
"""


def schedule(dsn: str) -> None:
    """More than the workers do while the picture is taken."""
    with Client(dsn) as client:
        client.schedule_many(
            TaskSpec(task_type="email", queue="mail", payload={"to": f"{n}@b.c"}) for n in range(9_000)
        )
        client.schedule_many(
            TaskSpec(task_type="thumbnail", queue="images", payload={"image": n}, backoff_delay=1) for n in range(900)
        )
        client.schedule_many(TaskSpec(task_type="invoice", queue="billing", payload={"number": n}) for n in range(400))
        client.schedule_many(
            TaskSpec(task_type="export", queue="exports", payload={"rows": 60 + 40 * n}, priority=8) for n in range(9)
        )
        client.schedule_many(TaskSpec(task_type="email", queue="newsletter", payload={"to": "all"}) for _ in range(250))
        client.pause_queue("newsletter")


def without_links(svg: str) -> str:
    """The same without fonts from elsewhere: the reader's own monospaced one will do."""
    svg = re.sub(r"\s*@font-face \{.*?\}", "", svg, flags=re.DOTALL)
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.DOTALL)
    return svg.replace("font-family: Fira Code, monospace", "font-family: monospace")


def main() -> None:
    """Run the load, take the picture."""
    file = Path(sys.argv[1]) if len(sys.argv) > 1 else FILE
    with tempfile.TemporaryDirectory() as name, EmbeddedServer.start(Path(name) / "data") as server:
        folder = Path(name)
        (folder / "load.py").write_text(APP)
        migrate(server.dsn)
        schedule(server.dsn)
        run = PgschedRunner(folder=folder, dsn=server.dsn)
        queues = [part for queue in ("mail", "images", "billing", "exports") for part in ("--queue", queue)]
        for _ in range(2):
            run("worker", "--app", "load:app", "--concurrency", "16", *queues)
        database = Database(dsn=server.dsn, pool_size=1)
        try:
            wait_until(lambda: len(read_activity(database).workers) == 2, message="two workers are there")
            time.sleep(25)  # a load that has been running for a while, and a watchdog that has looked
            before = read_activity(database)
            time.sleep(2)
            activity = read_activity(database, before)
        finally:
            database.close()
            run.kill_all()
    screen = Screen(
        activity=activity, view=View(panel="running"), place="db.example.com:5432/app", width=COLUMNS, height=LINES
    )
    console = Console(
        record=True, width=COLUMNS, height=LINES, file=io.StringIO(), force_terminal=True, highlight=False
    )
    console.print(draw(screen))
    file.write_text(without_links(console.export_svg(title="pgsched top", theme=MONOKAI)))


if __name__ == "__main__":
    main()
