"""What the handlers of every queue do: sleep, and write down which task ran to its end.

They write to a file and not to the database: so no fault but the end of the process can touch the handler, and what
goes wrong is the queue's. A line is one ``write`` to a file opened for appending, which SIGKILL cannot undo or halve.
"""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from pathlib import Path

FILE = "effects"
STEADY_SECONDS = 0.2
"""So long that the slots bound every queue's throughput, and not the machine."""


async def sleep_and_write_down(task_id: int) -> None:
    """The handler's work, in the folder of the trial."""
    await asyncio.sleep(STEADY_SECONDS)
    file = os.open(FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        os.write(file, b"%d\n" % task_id)
    finally:
        os.close(file)


def completed_runs(folder: Path) -> Counter[int]:
    """How often the handler of each task ran to its end."""
    path = folder / FILE
    return Counter(map(int, path.read_text().split())) if path.exists() else Counter()
