"""What an odd shape is, and the row of the table that comes of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar

if TYPE_CHECKING:
    from chaos.shapes.stage import Stage

PAGE_SECONDS = 1.0
"""A page of the dashboard must be ready within this time."""
CLAIM_BYTES = 16 * 1024**2
"""The size of the payloads that a worker may hold at once, as text."""


@dataclass(frozen=True, kw_only=True)
class Window:
    """Ordinary tasks in a stretch of time."""

    rate: float = 0.0
    """Completed tasks a second."""
    p50: float = 0.0
    """Milliseconds from the due time to the start of the handler."""
    p99: float = 0.0


class OddShape:
    """One odd shape. A subclass sets the names and overrides :meth:`run`."""

    name: ClassVar[str]
    does: ClassVar[str]
    """The shape, in a sentence for the documentation."""
    size: ClassVar[int]
    """The number of things in it, unless a run chooses a fraction."""
    things: ClassVar[str]
    """What is counted."""
    least: ClassVar[int] = 10
    """The smallest size of a run."""
    app: ClassVar[str] = "chaos.shapes.app:app"
    pages: ClassVar[tuple[str, ...]] = ()
    """Pages of the dashboard that must be quick once the shape is there."""

    worker_options: tuple[str, ...] = ("--queue", "ordinary", "--queue", "shape", "--concurrency", "20")

    def __init__(self) -> None:
        self.told: list[str] = []
        """What else was measured, in sentences."""
        self.broken: list[str] = []
        """The rules that do not hold."""

    def set_up(self, stage: Stage, size: int) -> None:
        """Prepare what is not measured, before the worker starts."""

    def run(self, stage: Stage, size: int) -> None:
        """Do it, and return when all of it is done."""
        raise NotImplementedError

    def paths(self, stage: Stage) -> Iterable[str]:
        """Yield the pages to measure once it has run."""
        return self.pages

    def check(self, stage: Stage, size: int) -> Iterable[str]:
        """Yield what is wrong in the end."""
        return ()


@dataclass(frozen=True, kw_only=True)
class Row:
    """One line of the table."""

    shape: str
    size: int
    full: bool = True
    """Whether it had the size that the table asks for."""
    seconds: float = 0.0
    worker_mb: float = 0.0
    """The most memory (RSS) of all processes of the worker, beyond what they had before."""
    worker_before_mb: float = 0.0
    server_mb: float = 0.0
    """The most private memory of one server process."""
    longest_transaction: float = 0.0
    """Seconds."""
    page_ms: float = 0.0
    """The slowest page of the dashboard; 0: none was asked for."""
    before: Window = field(default_factory=Window)
    during: Window = field(default_factory=Window)
    after: Window = field(default_factory=Window)
    told: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @property
    def rate(self) -> float:
        """Things a second."""
        return self.size / self.seconds if self.seconds else 0.0
