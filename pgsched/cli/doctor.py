"""``pgsched doctor``: finds problems and explains what to do about them."""

from __future__ import annotations

import asyncio

import click

from pgsched.cli.options import examples, output_option
from pgsched.cli.output import JSON, TABLE, cell, count, say, say_json, say_record, say_table
from pgsched.cli.session import Session, server
from pgsched.cli.several import ask_all, say_each
from pgsched.ops.doctor.catalogue import NAMES
from pgsched.ops.doctor.doctor import look_async
from pgsched.ops.doctor.findings import SEVERITIES, Diagnosis

HEADERS = ("CHECK", "STATE", "OBJECT", "PROBLEM")


@click.command(epilog=examples("pgsched doctor --strict", "pgsched doctor --check no_worker --output json"))
@click.option(
    "--check",
    "checks",
    metavar="NAME",
    type=click.Choice(NAMES),
    multiple=True,
    help="Run only this check; may be repeated.",
)
@click.option("--strict", is_flag=True, help="Also exit with 1 if there are warnings.")
@output_option(TABLE, JSON)
@click.pass_context
def doctor(context: click.Context, checks: tuple[str, ...], strict: bool, output: str) -> None:
    """Diagnose the queue and its database.

    Exits with 1 if there is an error, or with --strict a warning; otherwise with 0. Hints do not count.
    """
    session: Session = context.obj

    def look(given: str) -> Diagnosis:
        with server(given) as dsn:
            return asyncio.run(look_async(dsn, checks))

    if session.is_several:
        answers = ask_all(session.shards, lambda _name, dsn: look(dsn))
        if output == TABLE:
            say_each(answers.found, _say)
        else:
            say_json([{"shard": name} | found.as_dict() for name, found in answers.found.items()])
        answers.report()
        all_healthy = all(found.healthy(strict=strict) for found in answers.found.values())
        context.exit(answers.code if all_healthy else 1)
    found = look(session.dsn)
    say_record(found, _say, output=output)
    context.exit(0 if found.healthy(strict=strict) else 1)


def _say(found: Diagnosis) -> None:
    rows: list[tuple[object, ...]] = [(one.check, one.severity, one.object, one.problem) for one in found.findings]
    rows += [(one.check, one.state, None, None) for one in found.checks if one.state != "found"]
    say_table(HEADERS, rows)
    if found.findings:
        say("\nWhat to do:")
    for one in found.findings:  # never truncated: it is meant to be pasted
        say(f"{one.check} ({cell(one.object)}): {cell(one.advice)}")
    counts = [(sum(one.severity == severity for one in found.findings), severity) for severity in SEVERITIES]
    said = ", ".join(count(number, word) for number, word in counts if number)
    say(f"\n{said or 'all healthy'}; {count(len(found.checks), 'check')}")
