"""The queues, by name, in the order of the table."""

from __future__ import annotations

from chaos.peers.contender import Contender
from chaos.peers.ours import Ours
from chaos.peers.pgqueuer import Pgqueuer
from chaos.peers.procrastinate import Procrastinate

_ALL: tuple[type[Contender], ...] = (Ours, Pgqueuer, Procrastinate)
CONTENDERS: dict[str, type[Contender]] = {contender.name: contender for contender in _ALL}
