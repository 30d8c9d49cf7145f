"""Odd shapes of work: one very wide, long, large or numerous thing, and ordinary tasks beside it."""

from __future__ import annotations

from chaos.shapes.changes import BulkCancel, DeadLetters, SchedulesEdited, SchedulesSynced
from chaos.shapes.children import Chain, DependentsOfOne, DurableChildren, JoinOfMany
from chaos.shapes.crowds import IdleWorkers, ManyWorkers
from chaos.shapes.model import OddShape
from chaos.shapes.names import LargePayloads, ManyQueues, ManyTypes

_ALL: tuple[type[OddShape], ...] = (
    DependentsOfOne,
    JoinOfMany,
    DurableChildren,
    Chain,
    SchedulesEdited,
    SchedulesSynced,
    DeadLetters,
    BulkCancel,
    ManyQueues,
    ManyTypes,
    LargePayloads,
    ManyWorkers,
    IdleWorkers,
)
SHAPES: dict[str, type[OddShape]] = {shape.name: shape for shape in _ALL}
"""The shapes by name, in the order of the table."""
