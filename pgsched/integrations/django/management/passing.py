"""Base of the commands: passes arguments on to ``pgsched``, with the project's database."""

from __future__ import annotations

import os
import sys
from typing import Any

from django.core.management.base import BaseCommand, CommandError, handle_default_options

from pgsched.cli import main
from pgsched.integrations.django.conf import dsn_of, project_settings


class PassingCommand(BaseCommand):
    """A pgsched command, with pgsched's own options besides those of every Django command."""

    requires_system_checks: list[Any] = []  # noqa: RUF012 - declared as in Django
    words: tuple[str, ...] = ()
    """Arguments to prepend."""

    def run_from_argv(self, argv: list[str]) -> None:
        """Remove Django's options, pass the rest on, and exit with pgsched's exit code."""
        parser = self.create_parser(argv[0], argv[1])
        known, rest = parser.parse_known_args(argv[2:])
        handle_default_options(known)
        sys.exit(self.pass_on(rest))

    def handle(self, *args: Any, **_options: Any) -> None:
        """Run by ``call_command``. Raises CommandError if pgsched exits with anything but 0."""
        code = self.pass_on([str(one) for one in args])
        if code:
            raise CommandError(f"pgsched ended with {code}", returncode=code)

    def add_arguments(self, parser: Any) -> None:
        """Mention pgsched's own help in Django's."""
        parser.epilog = f"All other options and arguments are those of `pgsched {' '.join(self.words)}`."

    def pass_on(self, arguments: list[str]) -> int:
        """Run pgsched and return its exit code."""
        # In the environment: child processes inherit it, and it does not show in the process list.
        os.environ["PGSCHED_DSN"] = dsn_of(project_settings().database)
        return main([*self.words, *arguments])
