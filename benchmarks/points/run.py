"""Runs comparisons: their forms alternate, each round in a separate process in its copy, on a fresh database."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field

import psycopg

from benchmarks.databases import Databases
from benchmarks.model import Metrics
from benchmarks.points.copies import Copies
from benchmarks.points.model import Comparison, Form
from benchmarks.progress import Progress
from benchmarks.words import number

ROUND_SECONDS = 900
"""A round that takes longer failed."""


@dataclass
class Outcome:
    """The result of one comparison."""

    comparison: Comparison
    rounds: dict[str, list[Metrics]] = field(default_factory=dict)
    """By the label of the form; unmodified pgsched has an empty label."""
    failed: dict[str, str] = field(default_factory=dict)
    """Forms that were skipped, and why."""


@dataclass(frozen=True, kw_only=True)
class Runner:
    """Where the rounds run."""

    databases: Databases
    copies: Copies
    progress: Progress

    def run(self, comparison: Comparison, rounds: int) -> Outcome:
        """Run the forms alternately, in both directions; a form that fails is skipped from then on, with the cause."""
        outcome = Outcome(comparison)
        self.progress.begin(f"{comparison.label}: making the database {comparison.database!r}")
        self.databases.prepare(comparison.database)
        metric = comparison.metrics[0]
        for turn in range(rounds):
            for form in comparison.forms if turn % 2 == 0 else reversed(comparison.forms):
                where = f"{comparison.label} {turn + 1}/{rounds}: {form.does or 'pgsched'}"
                if form.label in outcome.failed:
                    self.progress.end(f"{where} left out")
                    continue
                self.progress.begin(where)
                try:
                    metrics = self._round(comparison, form)
                except (subprocess.SubprocessError, json.JSONDecodeError, psycopg.Error) as error:
                    outcome.failed[form.label] = cause = _cause(error)
                    outcome.rounds.pop(form.label, None)
                    self.progress.end(f"{where} failed: {cause}")
                    continue
                outcome.rounds.setdefault(form.label, []).append(metrics)
                self.progress.end(f"{where} {number(metrics[metric.name])} {metric.unit}")
        return outcome

    def _round(self, comparison: Comparison, form: Form) -> Metrics:
        copy = self.copies.with_changes(form.changes)
        dsn = self.databases.fresh(comparison.database)
        if form.statements:
            with psycopg.connect(dsn, autocommit=True) as connection:
                for statement in (*form.statements, "checkpoint"):
                    connection.execute(statement.encode())
        given = {**comparison.arguments, **form.arguments, "dsn": dsn}
        ended = subprocess.run(
            [sys.executable, "-m", f"benchmarks.{comparison.program}", json.dumps(given)],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
            timeout=ROUND_SECONDS,
            check=True,
        )
        metrics: Metrics = json.loads(ended.stdout)
        with psycopg.connect(dsn, autocommit=True) as connection:
            for name, question in comparison.afterwards.items():
                row = connection.execute(question.encode()).fetchone()
                metrics[name] = float(row[0]) if row else 0.0
        return metrics


def _cause(error: Exception) -> str:
    said = str(error.stderr or "") if isinstance(error, subprocess.CalledProcessError) else str(error)
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return (lines or [repr(error)])[-1][:300]
