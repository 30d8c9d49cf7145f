"""What the commands share: they pass what they are given on to ``pgsched``, on the project's database."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, handle_default_options

from pgsched.cli import main
from pgsched.integrations.django.conf import dsn_of, project_settings


class PassingCommand(BaseCommand):
    """A command of pgsched's; its options are pgsched's own, beside those that every command of Django has."""

    requires_system_checks: list[Any] = []  # noqa: RUF012 - as Django declares it
    words: tuple[str, ...] = ()
    """What comes in front of the arguments."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Take Django's options out, pass the rest on, and exit with pgsched's code."""
        parser = self.create_parser(argv[0], argv[1])
        known, rest = parser.parse_known_args(argv[2:])
        handle_default_options(known)
        sys.exit(self.pass_on(rest))

    def handle(self, *args: Any, **_options: Any) -> None:
        """For ``call_command``. Raises CommandError when pgsched ends with anything but 0."""
        code = self.pass_on([str(one) for one in args])
        if code:
            raise CommandError(f"pgsched ended with {code}", returncode=code)

    def add_arguments(self, parser: Any) -> None:
        """Say where the other options are."""
        parser.epilog = f"All other options and arguments are those of `pgsched {' '.join(self.words)}`."

    def pass_on(self, arguments: list[str]) -> int:
        """Run pgsched; returns its exit code."""
        # Not as an argument: the worker's children have it from here too, and nobody reads it on a command line.
        os.environ["PGSCHED_DSN"] = dsn_of(project_settings().database)
        return main([*self.words, *arguments])
