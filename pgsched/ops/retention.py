"""Deletes finished tasks and old history: selection, order and pace."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from time import monotonic

from pgsched.db.retention import Batch, Day, PruneCursor, RetentionStore, Rule
from pgsched.domain.interval import Interval
from pgsched.domain.records import Pruned, PrunedQueue
from pgsched.ops.archive import Archive

WORKER_SHARE = 0.2
"""Share of the time for deleting in the background of a worker."""
COMMAND_SHARE = 0.5
"""Share of the time for deleting when a caller waits for it."""
FIRST_BATCH = 500
"""Size of the first batch; later ones are sized to take :data:`BATCH_SECONDS`."""
SMALLEST_BATCH = 50
LARGEST_BATCH = 2000
BATCH_SECONDS = 0.02
FILED_SECONDS = 0.5
"""Target duration of a batch that is written to a file and synced."""
BUSY_SECONDS = 0.05
"""Retry interval while another run is pruning, if a caller waits."""
DROP_TRIES = 5
"""Number of attempts to drop a day of the history; each waits up to a tenth of a second for its users."""
DROP_SECONDS = 0.5


@dataclass(frozen=True, kw_only=True)
class RetentionOverride:
    """Overrides of the retention in the settings; None keeps the setting."""

    queue: str | None = None
    """Only tasks of this queue, and no history."""
    completed_older_than: Interval | None = None
    completed_keep: int | None = None
    dead_older_than: Interval | None = None
    dead_keep: int | None = None
    history_older_than: Interval | None = None
    archive: bool | None = None

    def of(self, rule: Rule) -> Rule:
        """Return the rules of a queue. A requested age or number replaces both, for completed and for dead tasks."""
        older_than, keep = (
            (self.dead_older_than, self.dead_keep) if rule.dead else (self.completed_older_than, self.completed_keep)
        )
        if older_than is not None or keep is not None:
            rule = rule._replace(older_than=older_than, keep=keep)
        return rule if self.archive is None else rule._replace(archive=self.archive)


@dataclass(kw_only=True)
class Pruner:
    """One run over all tasks and history. ``wait`` pauses, and returns whether to stop."""

    store: RetentionStore
    wait: Callable[[float], bool]
    share: float = COMMAND_SHARE
    override: RetentionOverride = field(default_factory=RetentionOverride)
    archive: Archive | None = None
    dry_run: bool = False
    patient: bool = True
    """Retry while another run is pruning."""
    on_batch: Callable[[str, Batch], None] | None = None
    busy: bool = False
    """Whether this run yielded to another one."""
    _stopped: bool = False
    _gone: dict[str, Counter[str]] = field(default_factory=dict)
    _days: list[Day] = field(default_factory=list)
    _rows: int = 0
    _left: bool = False
    """Whether something could not be deleted now."""
    _kept: int = 0
    _refusal: str | None = None
    _days_kept: list[str] = field(default_factory=list)

    def run(self) -> Pruned:
        """Delete everything that is due. Raises DatabaseUnavailable, PermissionRefused, OSError of the archive."""
        # The dead ones first: their dependencies may be deleted once they are gone.
        for rule in sorted(self.store.rules(self.override.queue), key=lambda rule: (not rule.dead, rule.queue)):
            self._tasks(self.override.of(rule))
            if self._ended:
                break
        if not self._ended and self.override.queue is None:
            self._history()
        return self.pruned()

    def pruned(self) -> Pruned:
        """Return what was deleted so far."""
        return Pruned(
            dry_run=self.dry_run,
            complete=not self._ended and not self._left,
            queues=[
                PrunedQueue(queue=name, completed=one["completed"], cancelled=one["cancelled"], dead=one["dead"])
                for name, one in sorted(self._gone.items())
            ],
            history=[day.part for day in self._days],
            history_bytes=sum(day.bytes for day in self._days),
            history_rows=self._rows,
            kept=self._kept,
            kept_by=self._refusal,
            history_kept=self._days_kept,
            files=[str(path) for path in self.archive.files] if self.archive else [],
        )

    @property
    def _ended(self) -> bool:
        return self._stopped or self.busy

    # Tasks.

    def _tasks(self, rule: Rule) -> None:
        if rule.older_than is None and rule.keep is None:
            return
        if self.on_batch is not None:
            self.on_batch(rule.queue, Batch(0, None, 0, 0, 0))  # a series starts with 0
        begun = monotonic()
        until = self.store.cutoff(rule)
        if until is None or self._rest(monotonic() - begun):
            return
        for batch in self._batches(rule, until):
            gone = self._gone.setdefault(rule.queue, Counter())
            gone.update(completed=batch.completed, cancelled=batch.cancelled, dead=batch.dead)
            self._kept += batch.kept
            self._refusal = self._refusal or batch.refusal
            if self.on_batch is not None:
                self.on_batch(rule.queue, batch)

    def _batches(self, rule: Rule, until: PruneCursor) -> Iterator[Batch]:
        """Each batch starts where the last one ended: no row, and no dead index entry, is scanned twice."""
        behind: PruneCursor | None = None
        size = FIRST_BATCH
        while True:
            begun = monotonic()
            batch = self._batch(rule, behind, until, size)
            seconds = monotonic() - begun
            if batch is None:
                self.busy = not self.patient
                if self.busy or self._pause(BUSY_SECONDS):
                    return
                continue
            yield batch
            if batch.looked < size or self._rest(seconds):
                return
            behind = batch.last
            wanted = BATCH_SECONDS if self.archive is None else FILED_SECONDS
            size = min(max(round(size * wanted / max(seconds, 0.001)), SMALLEST_BATCH), LARGEST_BATCH)

    def _batch(self, rule: Rule, behind: PruneCursor | None, until: PruneCursor, size: int) -> Batch | None:
        if self.archive is None and not self.dry_run:
            return self.store.prune(rule, behind, until, size)
        with self.store.transaction(undo=self.dry_run):
            picked = self.store.pick(rule, behind, until, size)
            if picked is None:
                return None
            # Rows that must be kept are not written to the file again and again.
            tried = self.store.try_out(picked.ids) if picked.ids else []
            going = [one for one in tried if one.refusal is None]
            if going and self.archive is not None and not self.dry_run:
                # The file is safe before the rows are deleted. A crash in between leaves them in both; so does a commit
                # whose answer is lost: only rows that were certainly not deleted are removed from the file again.
                ids = [one.id for one in going]
                take_back = self.archive.write("tasks", self.store.copy_tasks(ids))
                try:
                    self.store.delete(ids, archive=rule.archive)
                except BaseException:
                    take_back()
                    raise
        number = Counter(one.status for one in going)
        return Batch(
            picked.looked,
            picked.last,
            number["completed"],
            number["cancelled"],
            number["dead"],
            kept=len(picked.ids) - len(going),
            refusal=next((one.refusal for one in tried if one.refusal is not None), None),
        )

    # History.

    def _history(self) -> None:
        for day in self.store.days(self.override.history_older_than):
            if self.dry_run or self._drop(day):
                self._days.append(day)
            else:
                self._left = True
                self._days_kept.append(day.part)
            if self._stopped:
                return
        while not self.dry_run and self.archive is None:
            begun = monotonic()
            number = self.store.prune_history(self.override.history_older_than, LARGEST_BATCH)
            self._rows += number
            if not number or self._rest(monotonic() - begun):
                return

    def _drop(self, day: Day) -> bool:
        for _ in range(DROP_TRIES):
            if self.archive is None:
                if self.store.drop(day):
                    return True
            elif self._copy_and_drop(day):
                return True
            if self._pause(DROP_SECONDS):
                break
        return False

    def _copy_and_drop(self, day: Day) -> bool:
        assert self.archive is not None  # noqa: S101
        with self.store.transaction():
            if not self.store.hold(day):
                return False
            take_back = self.archive.write(day.part, self.store.copy_day(day))
            dropped = False
            try:
                dropped = self.store.drop(day)
            finally:
                if not dropped:
                    take_back()
            return dropped

    # Pace.

    def _rest(self, worked: float) -> bool:
        """Pause after this many seconds of work; return whether to stop."""
        return self._pause(worked * (1 / self.share - 1))

    def _pause(self, seconds: float) -> bool:
        self._stopped = self._stopped or self.wait(seconds)
        return self._stopped
