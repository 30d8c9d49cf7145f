"""The server answers, with errors."""

from __future__ import annotations

import random
from collections.abc import Iterable

from chaos.faults.model import Fault
from chaos.faults.server import TERMINATE_ALL
from chaos.faults.trial import Trial

CODES = {
    "53100": "disk full",
    "53200": "out of memory",
    "40001": "serialization failure",
    "40P01": "deadlock",
    "55P03": "lock timeout",
    "57014": "statement timeout",
    "58030": "input/output error",
    "XX000": "internal error",
}
TABLES = ("pgsched.tasks", "pgsched.executions")
DEFAULTS = {"statement_timeout": "'2ms'", "lock_timeout": "'1ms'"}


class Refusals(Fault):
    name = "server-errors"
    does = (
        "Writes to tasks or to the history fail for a while: disk full, out of memory, serialization failure, "
        "deadlock, lock timeout, statement timeout, input/output error, internal error."
    )
    injects = "errors"

    def set_up(self, trial: Trial) -> None:
        with trial.books() as books:
            books.execute("create unlogged table refusal (code text, target text)")
            books.execute("insert into refusal values (null, null)")
            books.execute("create sequence refused")
            books.execute(
                """
                create function refuse() returns trigger language plpgsql as $$
                declare
                  now public.refusal;
                begin
                  select * into now from public.refusal;
                  if now.code is not null and now.target = tg_argv[0] then
                    perform nextval('public.refused');
                    raise exception 'refused for the trial' using errcode = now.code;
                  end if;
                  return new;
                end $$
                """
            )
            for table in TABLES:
                books.execute(
                    f"create trigger refused before insert or update on {table} for each row"  # type: ignore[arg-type]
                    f" execute function refuse('{table}')"
                )

    def inject(self, trial: Trial, chance: random.Random) -> int:
        codes = list(CODES)
        chance.shuffle(codes)
        with trial.books() as books:
            for code in codes:
                for table in TABLES:
                    books.execute("update refusal set code = %s, target = %s", (code, table))
                    trial.pause(chance.uniform(0.1, 0.2) if trial.size.short else chance.uniform(0.3, 1.5))
                    books.execute("update refusal set code = null")
                    trial.pause(0.05 if trial.size.short else 0.5)
            row = books.execute("select last_value as n from refused").fetchone()
        assert row is not None
        return int(row["n"])


class Defaults(Fault):
    name = "server-settings"
    in_tests = False
    does = (
        "New sessions are read-only for a while, as on a former primary; then they have a statement_timeout of 2 ms, "
        "then a lock_timeout of 1 ms."
    )
    injects = "settings"

    def inject(self, trial: Trial, chance: random.Random) -> int:
        with trial.books() as books:
            # This session is older than the settings; and it is not theirs to make it read-only.
            row = books.execute("select current_database() as name").fetchone()
            assert row is not None
            # What a role or a database says of it our sessions set themselves: so the server does.
            books.execute("alter system set default_transaction_read_only = on")
            books.execute("select pg_reload_conf()")
            books.execute(TERMINATE_ALL)
            trial.pause(1.0 if trial.size.short else 8.0)
            books.execute("alter system reset default_transaction_read_only")
            books.execute("select pg_reload_conf()")
            trial.pause(0.5 if trial.size.short else 2.0)
            for setting, value in DEFAULTS.items():
                books.execute(f'alter database "{row["name"]}" set {setting} = {value}')  # type: ignore[arg-type]
                books.execute(TERMINATE_ALL)
                trial.pause(1.0 if trial.size.short else 8.0)
                books.execute(f'alter database "{row["name"]}" reset {setting}')  # type: ignore[arg-type]
                books.execute(TERMINATE_ALL)
                trial.pause(0.5 if trial.size.short else 2.0)
        return 1 + len(DEFAULTS)

    def check(self, trial: Trial) -> Iterable[str]:
        if not any("read-only transaction" in text for text in trial.crew.outputs().values()):
            yield "no worker met a read-only session: the fault did not strike"
