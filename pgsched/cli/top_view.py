"""Renders ``pgsched top`` for a view and a terminal size. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC
from typing import Any, Final, TypeGuard

from rich import box
from rich.align import Align
from rich.console import Group, JustifyMethod, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from pgsched.cli.output import cell, count
from pgsched.cli.times import span
from pgsched.cli.top_state import PANELS, View
from pgsched.db.queries.activity import MAX_RUNNING, RunningTask
from pgsched.db.queries.dashboard import CAP
from pgsched.domain.queue_selector import glob_of
from pgsched.domain.worker_records import WorkerInfo
from pgsched.ops.activity import Activity, QueueActivity

BAR: Final = 10
"""Width of a progress bar."""
HEAD_LINES: Final = 3
FRAME_LINES: Final = 3
"""Lines of a panel beside its rows: the frame and the column names."""
KEYS: Final = (
    ("q, Ctrl-C", "leave"),
    ("p, space", "pause and resume"),
    ("Tab, →, ←", "the next panel, the one before"),
    ("↓ ↑, j k", "scroll the panel; Page Up and Down by ten, Home to its beginning"),
    ("s", "sort the panel by something else"),
    ("?", "keyboard shortcuts"),
)


TITLES: Final = {"queues": "Queues", "workers": "Workers", "running": "Active"}
"""The title of each panel."""


@dataclass(frozen=True, kw_only=True)
class Screen:
    """Everything that determines the picture."""

    activity: Activity | None
    view: View = field(default_factory=View)
    interval: float = 2.0
    place: str = ""
    """The database's address."""
    error: str | None = None
    """The error of the last poll; ``activity`` is from the one before."""
    width: int = 80
    height: int | None = 24
    """None: as many lines as needed."""


def draw(screen: Screen) -> RenderableType:
    """Return the picture."""
    head = _head(screen)
    if screen.view.help:
        return Group(head, _help())
    if screen.activity is None:
        return Group(head, Align.center(Text("\nwaiting for the database …", style="dim")))
    shown = _rows_of(screen)
    return Group(head, *(_panel(screen, name, rows) for name, rows in shown.items()))


def rows_in(activity: Activity | None) -> dict[str, int]:
    """Return the number of rows of each panel."""
    return {name: 0 if activity is None else len(getattr(activity, name)) for name in PANELS}


def bar_of(progress: Any) -> str:
    """Return a progress value as a bar if it is a fraction, otherwise as text."""
    if progress is None:
        return ""
    share = share_of(progress)
    if share is None:
        return cell(progress)[: BAR + 6]
    done = round(share * BAR)
    return f"{'█' * done}{'░' * (BAR - done)} {share:4.0%}"


def share_of(progress: Any) -> float | None:
    """Return a progress value as a fraction: of a number from 0 to 1, ``{"done": 3, "of": 7}`` or ``{"percent": 40}``;
    None for any other value."""
    found: float | None = None
    if isinstance(progress, dict):
        done, whole = progress.get("done"), progress.get("of", progress.get("total"))
        if _is_number(done) and _is_number(whole) and whole > 0:
            found = done / whole
        elif _is_number(progress.get("percent")):
            found = progress["percent"] / 100
    elif _is_number(progress):
        found = progress if 0 <= progress <= 1 else None
    return None if found is None else min(max(float(found), 0.0), 1.0)


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _head(screen: Screen) -> RenderableType:
    activity, view = screen.activity, screen.view
    first = _line()
    first.append(" pgsched ", style="bold reverse")
    if view.paused:
        first.append(" PAUSED ", style="bold yellow")
    second = _line()
    if activity is not None:
        first.append(f" {activity.server}  {activity.at.astimezone(UTC):%H:%M:%S} UTC  every {screen.interval:g} s ")
        second = _figures(activity)
    first.append(f" {screen.place}")
    if screen.error is not None:
        third = _line(f" trying again: {cell(screen.error)}", "bold white on red")
    else:
        third = _troubles(activity)
    return Group(first, second, third)


def _figures(activity: Activity) -> Text:
    due = sum(queue.due for queue in activity.queues)
    dead = sum(queue.dead for queue in activity.queues)
    alive = [worker for worker in activity.workers if worker.alive]
    text = _line(" ")
    for label, value, style in (
        ("started/s", f"{activity.started_rate:,.1f}", "green"),
        ("finished/s", f"{activity.ended_rate:,.1f}", "green"),
        ("ready", _count(due), "yellow" if due else ""),
        ("active", _count(sum(queue.running for queue in activity.queues)), "cyan"),
        ("dead", _count(dead), "red" if dead else ""),
        ("workers", f"{len(alive)}", "" if alive else "red"),
    ):
        text.append(f"{label} ", style="dim")
        text.append(value, style=f"bold {style}".strip())
        text.append("   ")
    return text


def _troubles(activity: Activity | None) -> Text:
    if activity is None:
        return _line()
    if activity.findings is None:
        return _line(" no worker has checked the health yet: pgsched doctor does", "dim")
    found = Counter(one.get("severity", "") for one in activity.findings)
    if not found["error"] and not found["warning"]:
        return _line(" all healthy", "dim")
    worst = next(one for one in activity.findings if one["severity"] in ("error", "warning"))
    text = _line(" ")
    said = f"{count(found['error'], 'error')}, {count(found['warning'], 'warning')}: "
    text.append(said, style="bold red" if found["error"] else "yellow")
    text.append(f"{worst['check']} ({cell(worst['object'])}): {cell(worst['problem'])}")
    return text


def _line(text: str = "", style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _help() -> RenderableType:
    table = Table.grid(padding=(0, 3))
    for keys, does in KEYS:
        table.add_row(Text(keys, style="bold"), does)
    return Panel(table, title="Keyboard shortcuts", title_align="left", border_style="cyan", box=box.ROUNDED)


def _rows_of(screen: Screen) -> dict[str, int]:
    """Distribute the lines among the panels; if they do not all fit, only the selected one is shown."""
    wanted = {name: max(number, 1) for name, number in rows_in(screen.activity).items()}
    if screen.height is None:
        return wanted
    room = screen.height - HEAD_LINES - FRAME_LINES * len(PANELS)
    if room < len(PANELS):
        return {screen.view.panel: max(screen.height - HEAD_LINES - FRAME_LINES, 1)}
    given = dict.fromkeys(PANELS, 1)
    room -= len(PANELS)
    while room and any(given[name] < wanted[name] for name in PANELS):
        for name in PANELS:
            if room and given[name] < wanted[name]:
                given[name] += 1
                room -= 1
    given["running"] += room
    return given


def _panel(screen: Screen, name: str, lines: int) -> RenderableType:
    assert screen.activity is not None  # noqa: S101
    view = screen.view
    chosen = name == view.panel and screen.height is not None
    top = view.top_of(name)
    number = rows_in(screen.activity)[name]
    table = _TABLES[name].draw(screen.activity, getattr(screen.activity, name), view.sort_of(name), top, lines)
    shown = f"{top + 1}–{min(top + lines, number)} of {number}" if number > lines else f"{number}"
    more = "+" if name == "running" and number >= MAX_RUNNING else ""
    title = f"{TITLES[name]} {shown}{more}" + (f", by {view.sort_of(name)}" if screen.height is not None else "")
    return Panel(
        table,
        title=title,
        title_align="left",
        border_style="bold cyan" if chosen else "dim",
        box=box.ROUNDED,
        padding=(0, 1),
        height=None if screen.height is None else lines + FRAME_LINES,
    )


@dataclass(frozen=True, kw_only=True)
class _Table:
    """How a panel shows its rows."""

    columns: Sequence[str]
    """The column names; those that start with > are right-aligned."""
    orders: Mapping[str, Callable[[Any], Any]]
    """The sort key of each of the panel's :data:`SORTS`."""
    cells: Callable[[Any, Activity], Sequence[str | Text]]
    """Returns the cells of one row. Strings are shown literally: data must not be read as markup."""

    def draw(self, activity: Activity, rows: Sequence[Any], sort: str, top: int, lines: int) -> Table:
        """Return a table of at most ``lines`` rows from ``top`` on."""
        table = Table(box=None, padding=(0, 2, 0, 0), expand=True, header_style="dim", show_edge=False)
        for name in self.columns:
            justify: JustifyMethod = "right" if name.startswith(">") else "left"
            table.add_column(name.removeprefix(">"), justify=justify, no_wrap=True, overflow="ellipsis")
        for row in sorted(rows, key=self.orders[sort])[top : top + lines]:
            table.add_row(*(Text(one) if isinstance(one, str) else one for one in self.cells(row, activity)))
        return table


def _queue_cells(one: QueueActivity, _activity: Activity) -> list[str | Text]:
    return [
        cell(one.name),
        _count(one.waiting),
        Text(_count(one.due), style="yellow" if one.due else ""),
        "" if one.oldest_due_seconds is None else span(max(one.oldest_due_seconds, 0.0)),
        Text(_count(one.running), style="cyan" if one.running else ""),
        str(one.slots) if one.slots else Text("0", style="red" if one.due and not one.paused else ""),
        Text(_count(one.dead), style="red" if one.dead else ""),
        f"{one.rate:,.1f}",
        Text("paused", style="yellow") if one.paused else Text("open", style="dim"),
    ]


def _worker_cells(one: WorkerInfo, activity: Activity) -> list[str | Text]:
    silent = max((activity.at - one.heartbeat_at).total_seconds(), 0.0)
    return [
        cell(one.hostname),
        str(one.pid),
        cell(", ".join([*one.queues, *map(glob_of, one.patterns)])),
        f"{one.running}/{one.concurrency}",
        f"{span(silent)} ago",
        _state(one),
    ]


def _state(one: WorkerInfo) -> Text:
    if not one.alive:
        return Text("offline", style="bold red")
    if one.troubles:
        return Text(cell(one.troubles[0].kind), style="bold red" if one.troubles[0].stops else "yellow")
    return Text("online", style="green")


def _running_cells(one: RunningTask, _activity: Activity) -> list[str | Text]:
    return [
        str(one.id),
        cell(one.task_type),
        cell(one.queue),
        f"{cell(one.hostname)} {one.pid}" if one.hostname else Text("gone", style="red"),
        span(max(one.seconds, 0.0)),
        Text(bar_of(one.progress), style="cyan"),
        Text(f"{one.attempt}/{one.max_attempts}", style="yellow" if one.attempt > 1 else ""),
    ]


_TABLES: Final = {
    "queues": _Table(
        columns=("queue", ">pending", ">ready", ">latency", ">active", ">slots", ">dead", ">done/s", "state"),
        orders={
            "name": lambda one: one.name,
            "ready": lambda one: -one.due,
            "active": lambda one: -one.running,
            "rate": lambda one: -one.rate,
            "latency": lambda one: -(one.oldest_due_seconds or 0.0),
        },
        cells=_queue_cells,
    ),
    "workers": _Table(
        columns=("host", ">pid", "queues", ">held/slots", ">heartbeat", ""),
        orders={
            "host": lambda one: (one.hostname, one.pid),
            "load": lambda one: -one.running / max(one.concurrency, 1),
            "heartbeat": lambda one: one.heartbeat_at,
        },
        cells=_worker_cells,
    ),
    "running": _Table(
        columns=(">id", "type", "queue", "worker", ">duration", "progress", ">attempt"),
        orders={
            "longest": lambda one: -one.seconds,
            "type": lambda one: (one.task_type, one.id),
            "queue": lambda one: (one.queue, one.id),
            "id": lambda one: one.id,
        },
        cells=_running_cells,
    ),
}


def _count(number: int) -> str:
    return f"{CAP - 1:,}+" if number >= CAP - 1 else f"{number:,}"
