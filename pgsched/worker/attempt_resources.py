"""Attempts that need more than their payload: results of their dependencies, or a transaction of their own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from random import random
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.session import Sessions
from pgsched.db.transaction import (
    LOCK_SECONDS,
    CommitUnanswered,
    LockedByOthers,
    NotCommitted,
    Pool,
    Transaction,
    begin,
)
from pgsched.db.worker.workflows import find_results
from pgsched.domain.attempt import Outcome
from pgsched.domain.dependency_results import Results
from pgsched.domain.lifecycle import conclude
from pgsched.execution.context import Context
from pgsched.execution.durable_run import DurableRun
from pgsched.execution.handler import Handler
from pgsched.observability.logs import get_logger
from pgsched.worker.attempt_log import log_completed
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import Completer
from pgsched.worker.leased_tasks import BEGIN, END, LeasedTask, LeasedTasks
from pgsched.worker.loops import retry_until_success
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.report import Report
from pgsched.worker.snoozes import Snoozes

log = get_logger("pgsched.worker")


@dataclass(kw_only=True, eq=False, repr=False)
class Attempts:
    """Prepares such attempts; most attempts need none of it."""

    worker: UUID
    transactions: Pool
    """Connections for handlers."""
    questions: Sessions
    """Connections for the queries before handlers run."""
    leased_tasks: LeasedTasks
    completer: Completer
    clock: DatabaseClock
    counts: WorkerMetrics
    snoozes: Snoozes
    on_due: Callable[[], None]
    """Called when a commit has made a row due again."""
    on_end: Callable[[], object]
    """Called when the worker no longer holds a row."""

    async def prepare(self, leased: LeasedTask, handler: Handler, run: DurableRun | None = None) -> Attempt:
        """Fetch the results and begin the transaction, as far as the handler uses them. Waits for the database.

        ``run`` is the run of a durable handler.
        """
        task = leased.task
        results = None
        if task.depends_on is not None and handler.context_parameter is not None:
            ask = partial(find_results, self.questions, task.id, task.depends_on)
            results = Results(await retry_until_success("dependencies", task, ask, self.counts))
        transaction = None
        if handler.transactional:
            start = partial(begin, self.transactions, plain=not handler.is_async)
            transaction = await retry_until_success("transaction", task, start, self.counts)
        return Attempt(self, leased, results, transaction, run)


@dataclass(eq=False, repr=False)
class Attempt:
    """One such attempt, from before its handler runs until its outcome is written or handed on."""

    attempts: Attempts
    leased: LeasedTask
    results: Results | None
    transaction: Transaction | None
    run: DurableRun | None = None
    outcome: Outcome | None = None

    def equip(self, context: Context) -> None:
        """Give the handler's context what was prepared."""
        context.equip(None if self.transaction is None else self.transaction.handler_connection, self.results)

    def keep(self, outcome: Outcome) -> bool:
        """Take the outcome of a handler; returns whether it will be written at the end of its transaction.

        Nobody waits for a plain handler that exceeds its timeout or must stop: its outcome is written at once, and its
        transaction is rolled back when it returns.
        """
        transaction = self.transaction
        if transaction is None:
            return False
        if self.leased.abandoned or outcome.status in ("released", "timed_out"):
            transaction.stop_statement()
            return False
        self.outcome = outcome
        self.leased.move(END)
        return True

    async def end(self) -> None:
        """Commit what the handler wrote together with its outcome, or roll it back. The handler no longer runs."""
        transaction = self.transaction
        if transaction is None:
            return
        try:
            await transaction.settle()
            problem = transaction.revoke()
            outcome = self.outcome
            if outcome is not None and outcome.status == "completed":
                if problem is None:
                    outcome = await self._commit(transaction, outcome)
                else:
                    outcome = outcome._replace(status="failed", result=None, error=problem)
            await transaction.rollback()
            if outcome is not None and (outcome.status == "snoozed" or outcome.misfit):
                outcome = await self.attempts.snoozes.bounded(self.leased, outcome)
            if outcome is not None:
                self.attempts.completer.conclude(self.leased, outcome)
        except BaseException:
            self._let_go()  # its lease expires
            raise
        finally:
            await transaction.release()

    def leave(self) -> None:
        """Give up waiting for the handler to end: nothing that it still writes is committed."""
        transaction, self.transaction = self.transaction, None
        if transaction is not None:
            transaction.leave()
            if self.outcome is not None:
                self.leased.move(BEGIN)

    async def _commit(self, transaction: Transaction, outcome: Outcome) -> Outcome | None:
        """Write the outcome and commit; returns None, or another outcome to be written outside the transaction."""
        everyone, leased = self.attempts, self.leased
        finish = conclude(leased.task, outcome, at=everyone.clock.at, random=random, missed=leased.missed)
        report = Report(leased)
        try:
            told, now = everyone.completer.writer.announcements([(leased, finish)]), monotonic()
            if not await transaction.write(everyone.worker, finish, report.progress(), report.logs(), now, told):
                everyone.counts.fenced += 1
                log.warning("finish_fenced", count=1, hint="another claim took the task after its lease expired")
                self._let_go()
                return None
            await transaction.commit()
        except CommitUnanswered as error:
            everyone.counts.database_errors += 1
            log.warning(
                "commit_unanswered",
                task_id=leased.task.id,
                task_type=leased.task.task_type,
                error=str(error),
                hint="either it is committed, or it runs again when its lease has expired",
            )
            self._let_go()
            return None
        except RefusedByDatabase as error:
            report.give_back()
            return outcome._replace(status="discarded", result=None, error=f"the outcome cannot be stored: {error}")
        except LockedByOthers as error:
            # Not the task's fault. What the handler wrote is undone, and so are its locks, which others may wait for.
            report.give_back()
            log.warning("task_locked", task_id=leased.task.id, task_type=leased.task.task_type, error=str(error))
            return outcome._replace(status="snoozed", result=None, error=str(error), retry_delay=LOCK_SECONDS)
        except NotCommitted as error:
            report.give_back()
            return outcome._replace(status="failed", result=None, error=str(error))
        everyone.counts.execution(leased.task, outcome, finish)
        if everyone.completer.logs_completed:
            log_completed(leased.task, outcome)
        for missed in finish.missed:
            everyone.counts.missed(leased.task, missed.reason, missed.ticks)
        everyone.leased_tasks.drop(leased)
        everyone.on_end()
        everyone.completer.writer.wrote([(leased, finish)])
        if finish.next_status == "pending":
            everyone.on_due()
        return None

    def _let_go(self) -> None:
        self.attempts.leased_tasks.give_up(self.leased)
        self.attempts.on_end()
