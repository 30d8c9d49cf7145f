"""Workers in TypeScript that are killed, or stand still, at random."""

from __future__ import annotations

from dataclasses import replace

from chaos.faults.kills import Sigkill
from chaos.faults.model import Shape, Size
from chaos.faults.stops import Sigstop
from chaos.load import typescript


class TypescriptSigkill(Sigkill):
    """SIGKILL of random workers of the protocol."""

    name = "typescript-sigkill"
    does = (
        "As `worker-sigkill`, with the workers of clients/typescript: they claim and finish by the SQL functions of the"
        " worker protocol, and their transactional handlers call `ctx.finish` in their own transaction."
    )
    in_tests = False

    def shape(self, size: Size) -> Shape:
        return replace(super().shape(size), language="typescript")

    def missing(self) -> str | None:
        return typescript.missing()


class TypescriptSigstop(Sigstop):
    """SIGSTOP of workers of the protocol past their lease, then SIGCONT."""

    name = "typescript-sigstop"
    does = "As `worker-sigstop`, with the workers of clients/typescript."
    in_tests = False

    def shape(self, size: Size) -> Shape:
        return replace(super().shape(size), language="typescript")

    def missing(self) -> str | None:
        return typescript.missing()
