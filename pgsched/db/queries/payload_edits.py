"""Commands that change the payloads of many tasks. Pure, as :mod:`pgsched.db.queries`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from pgsched.db.queries.task_search import at_this_moment
from pgsched.db.query import Command, Rows, command
from pgsched.domain.errors import InvalidTask
from pgsched.domain.task_filters import TaskFilters
from pgsched.domain.validation import RULES, whole

MAX_BATCH: Final = 10_000
MAX_REFUSALS: Final = 1_000
"""Maximum number of refusals that are kept."""
_batch = whole(1, MAX_BATCH)


class RefusedEdit(NamedTuple):
    """A task whose payload is not changed."""

    id: int
    reason: str
    """The rule that the new payload breaks."""


class EditedPayloads(NamedTuple):
    """The result, so far, of a change to the payloads of many tasks, or of its dry run."""

    matched: int = 0
    """Number of tasks that match the filter."""
    edited: int = 0
    """Number of those that wait and have another payload now."""
    refused: int = 0
    refusals: Sequence[RefusedEdit] = ()
    """The first 1,000 that the rules do not allow."""
    ids: Sequence[int] = ()
    """The tasks of the last batch that were changed."""
    next_before: int | None = None
    """The next batch takes tasks with smaller ids; None when this was the last one."""

    def and_then(self, batch: EditedPayloads) -> EditedPayloads:
        """Return the sum of this and another batch."""
        return EditedPayloads(
            self.matched + batch.matched,
            self.edited + batch.edited,
            self.refused + batch.refused,
            [*self.refusals, *batch.refusals][:MAX_REFUSALS],
            batch.ids,
            batch.next_before,
        )


def edit_payloads(
    ids: Sequence[int], patch: Mapping[str, Any], *, dry_run: bool, next_before: int | None
) -> Command[EditedPayloads]:
    """Change the payloads of the waiting tasks among these. A dry run only reports them. Raises InvalidTask."""

    def parse(rows: Rows) -> EditedPayloads:
        edited = [int(row["id"]) for row in rows if row["refusal"] is None]
        refusals = [RefusedEdit(int(row["id"]), row["refusal"]) for row in rows if row["refusal"] is not None]
        return EditedPayloads(len(ids), len(edited), len(refusals), refusals[:MAX_REFUSALS], edited, next_before)

    return command("edit_payloads", parse, ids=list(ids), patch=checked_patch(patch), dry_run=dry_run)


def checked_patch(patch: Mapping[str, Any]) -> str:
    """Return a merge patch as JSON text. Raises InvalidTask unless it is a non-empty JSON object."""
    if not isinstance(patch, Mapping) or not patch:
        raise InvalidTask("must be an object that changes something", field="patch")
    return str(RULES["payload"].check("patch", patch))


def checked_batch(size: int) -> int:
    """Return the size of a batch. Raises InvalidTask."""
    return int(_batch("batch", size))


def of_waiting(filters: TaskFilters) -> TaskFilters:
    """Return the filters, limited to tasks that may still run unless they name statuses."""
    given = at_this_moment(filters)
    return given if given.get("status") is not None else {**given, "status": ("pending", "blocked", "running")}
