"""Attempts that need more than their payload: results of the tasks they depend on, a transaction of their own."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from random import random
from time import monotonic
from uuid import UUID

from pgsched.db.error_mapping import RefusedByDatabase
from pgsched.db.pool import Pool
from pgsched.db.session import Sessions
from pgsched.db.transaction import CommitUnanswered, NotCommitted, Transaction, begin
from pgsched.db.worker.workflows import find_results
from pgsched.domain.attempt import Outcome
from pgsched.domain.dependency_results import Results
from pgsched.domain.lifecycle import conclude
from pgsched.execution.context import Context
from pgsched.execution.registry import Handler
from pgsched.observability.logs import get_logger
from pgsched.worker.clock import DatabaseClock
from pgsched.worker.completer import Completer
from pgsched.worker.leased_tasks import FINISHING, RUNNING, LeasedTask, LeasedTasks
from pgsched.worker.loops import retry_until_success
from pgsched.worker.metrics import WorkerMetrics
from pgsched.worker.report import Report

log = get_logger("pgsched.worker")


class Attempts:
    """Prepares such attempts; most need none of it."""

    def __init__(
        self,
        *,
        worker: UUID,
        transactions: Pool,
        questions: Sessions,
        leased_tasks: LeasedTasks,
        completer: Completer,
        clock: DatabaseClock,
        counts: WorkerMetrics,
        on_due: Callable[[], None],
        on_end: Callable[[], object],
    ) -> None:
        """``transactions`` and ``questions``: connections for handlers, and for what is asked before they run.

        ``on_due`` is called when a commit made a row due again, ``on_end`` when a row is no longer in hand.
        """
        self.worker = worker
        self.leased_tasks = leased_tasks
        self.completer = completer
        self.clock = clock
        self.counts = counts
        self.on_due = on_due
        self.on_end = on_end
        self._transactions = transactions
        self._questions = questions

    async def prepare(self, leased: LeasedTask, handler: Handler) -> Attempt:
        """Fetch the results, begin the transaction; whatever of it the handler asks for. Waits for the database."""
        task = leased.task
        results = None
        if task.depends_on is not None and handler.context_parameter is not None:
            ask = partial(find_results, self._questions, task.depends_on)
            results = Results(await retry_until_success("dependencies", task, ask, self.counts))
        transaction = None
        if handler.transactional:
            start = partial(begin, self._transactions, plain=not handler.is_async)
            transaction = await retry_until_success("transaction", task, start, self.counts)
        return Attempt(self, leased, results, transaction)


class Attempt:
    """One of them, from before the handler runs until its outcome is written or handed on."""

    def __init__(
        self, attempts: Attempts, leased: LeasedTask, results: Results | None, transaction: Transaction | None
    ) -> None:
        self._all = attempts
        self._leased = leased
        self._results = results
        self._transaction = transaction
        self._outcome: Outcome | None = None

    def equip(self, context: Context) -> None:
        """Give the handler's context what was prepared."""
        context.equip(None if self._transaction is None else self._transaction.lent, self._results)

    def keep(self, outcome: Outcome) -> bool:
        """Take the outcome of a handler; returns whether it is written at the end of its transaction.

        A plain handler that overstays its timeout, or is to stop, is not waited for: its outcome is written at once,
        and its transaction is rolled back when it returns.
        """
        transaction = self._transaction
        if transaction is None:
            return False
        if self._leased.abandoned or outcome.status in ("released", "timed_out"):
            transaction.stop_statement()
            return False
        self._outcome = outcome
        self._leased.state = FINISHING
        return True

    async def end(self) -> None:
        """Commit what the handler wrote together with its outcome, or roll it back. The handler runs no more."""
        transaction = self._transaction
        if transaction is None:
            return
        try:
            problem = transaction.take_back()
            outcome = self._outcome
            if outcome is not None and outcome.status == "completed":
                if problem is None:
                    outcome = await self._commit(transaction, outcome)
                else:
                    outcome = outcome._replace(status="failed", result=None, error=problem)
            await transaction.rollback()
            if outcome is not None:
                self._all.completer.conclude(self._leased, outcome)
        except BaseException:
            self._let_go()  # its lease runs out
            raise
        finally:
            await transaction.release()

    def leave(self) -> None:
        """The end of the handler could not be waited for: nothing that it still writes is committed."""
        transaction, self._transaction = self._transaction, None
        if transaction is not None:
            transaction.leave()
            if self._outcome is not None:
                self._leased.state = RUNNING

    async def _commit(self, transaction: Transaction, outcome: Outcome) -> Outcome | None:
        """Write the outcome and commit; returns None, or the outcome there is instead, to be written without it."""
        everyone, leased = self._all, self._leased
        finish = conclude(leased.task, outcome, at=everyone.clock.at, random=random, missed=leased.missed)
        report = Report(leased)
        try:
            told, now = everyone.completer.announcements([(leased, finish)]), monotonic()
            if not await transaction.write(everyone.worker, finish, report.progress(), report.logs(), now, told):
                everyone.counts.fenced += 1
                log.warning("finish_fenced", count=1, hint="another claim took the task after its lease ran out")
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
                hint="it is done, or it runs again when its lease has run out",
            )
            self._let_go()
            return None
        except RefusedByDatabase as error:
            report.give_back()
            return outcome._replace(status="discarded", result=None, error=f"the outcome cannot be stored: {error}")
        except NotCommitted as error:
            report.give_back()
            return outcome._replace(status="failed", result=None, error=str(error))
        everyone.counts.execution(leased.task, outcome, finish)
        for missed in finish.missed:
            everyone.counts.missed(leased.task, missed.reason, missed.ticks)
        everyone.leased_tasks.drop(leased)
        everyone.on_end()
        everyone.completer.wrote([(leased, finish)])
        if finish.next_status == "pending":
            everyone.on_due()
        return None

    def _let_go(self) -> None:
        self._all.leased_tasks.give_up(self._leased)
        self._all.on_end()
