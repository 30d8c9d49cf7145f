"""The queues, by name, in the order of the table."""

from __future__ import annotations

from tests.chaos.peers.contender import Contender
from tests.chaos.peers.ours import Ours
from tests.chaos.peers.pgqueuer import Pgqueuer
from tests.chaos.peers.procrastinate import Procrastinate

_ALL: tuple[type[Contender], ...] = (Ours, Pgqueuer, Procrastinate)
CONTENDERS: dict[str, type[Contender]] = {contender.name: contender for contender in _ALL}
