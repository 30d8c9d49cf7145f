"""Checks, indexes, columns, keys, policies, rights and publications that users add to our tables."""

from __future__ import annotations

import asyncio

from chaos.poison.kind import COMPLETED, DEAD, SET_ASIDE, WAITS, Act, Kind, slow_victim

MINE = "metadata ->> 'poison' = '{mark}'"


async def _fails() -> None:
    raise ValueError("it fails every time")


async def _words() -> str:
    return "no number"


async def _long_words() -> str:
    await asyncio.sleep(0.01)
    return "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(20_000))


def _check(name: str, rule: str) -> dict[str, tuple[str, ...]]:
    constraint = f"zz_poison_{name.replace('-', '_')}"
    text = f"alter table pgsched.tasks add constraint {constraint} check (({MINE}) is not true or {rule}) not valid"
    return {"before": (text,), "undo": (f"alter table pgsched.tasks drop constraint {constraint}",)}


_ONE = {"max_attempts": "1"}

KINDS = (
    Kind(
        name="check-not-valid",
        does="a row that a CHECK constraint, added NOT VALID, would reject today",
        fates=(SET_ASIDE,),
        words="zz_poison_check_not_valid",
        doctor=("foreign_objects", "zz_{name}"),
        columns={"scheduled_for": "now() + interval '3 seconds'"},
        after=(
            "alter table pgsched.tasks add constraint zz_poison_check_not_valid"
            f" check (({MINE}) is not true or payload ? 'tenant') not valid",
        ),
        undo=("alter table pgsched.tasks drop constraint zz_poison_check_not_valid",),
    ),
    Kind(
        name="check-on-claim",
        does="a CHECK constraint that rejects the claim of a row",
        fates=(DEAD, SET_ASIDE),
        words="zz_poison_check_on_claim",
        doctor=("foreign_objects", "zz_{name}"),
        **_check("check-on-claim", "status not in ('running', 'completed')"),
    ),
    Kind(
        name="check-on-result",
        does="a CHECK constraint that rejects a row's result",
        words="zz_poison_check_on_result",
        doctor=("foreign_objects", "zz_{name}"),
        **_check("check-on-result", "result is null"),
    ),
    Kind(
        name="check-on-error",
        does="a CHECK constraint that rejects every error of a row",
        fates=(SET_ASIDE, DEAD),
        words="zz_poison_check_on_error",
        handler=_fails,
        columns=_ONE,
        doctor=("foreign_objects", "zz_{name}"),
        **_check("check-on-error", "last_error is null"),
    ),
    Kind(
        name="unique-result",
        does="a unique index of a user on results",
        words="zz_{name}",
        rows=3,
        fates=(DEAD, COMPLETED),
        doctor=("foreign_objects", "zz_{name}"),
        before=(f"create unique index zz_{{name}} on pgsched.tasks ((result #>> '{{}}')) where {MINE}",),
        undo=("drop index pgsched.zz_{name}",),
    ),
    Kind(
        name="index-that-computes",
        does="an index on an expression that fails for a row's result",
        words="invalid input syntax",
        handler=_words,
        doctor=("foreign_objects", "zz_{name}"),
        before=(f"create index zz_{{name}} on pgsched.tasks (((result #>> '{{}}')::integer)) where {MINE}",),
        undo=("drop index pgsched.zz_{name}",),
    ),
    Kind(
        name="index-row-too-large",
        does="an index on results, one of which is larger than an index row may be",
        words="index row",
        handler=_long_words,
        doctor=("foreign_objects", "zz_{name}"),
        before=(f"create index zz_{{name}} on pgsched.tasks (result) where {MINE}",),
        undo=("drop index pgsched.zz_{name}",),
    ),
    Kind(
        name="columns-of-users",
        does="columns of users on our tables, named as ours and the statements' own words are",
        fates=(COMPLETED,),
        doctor=("foreign_objects", "error"),
        before=(
            "alter table pgsched.tasks add column error text, add column seconds float8, add column tick timestamptz,"
            " add column execution text, add column token bigint, add column counted boolean, add column worker uuid",
            "alter table pgsched.executions add column seconds float8, add column ended text, add column id bigint",
        ),
        undo=(
            "alter table pgsched.tasks drop column error, drop column seconds, drop column tick, drop column execution,"
            " drop column token, drop column counted, drop column worker",
            "alter table pgsched.executions drop column seconds, drop column ended, drop column id",
        ),
    ),
    Kind(
        name="column-not-null",
        does="a column of a user on the history that must not be null and has no default",
        fates=(SET_ASIDE, DEAD, COMPLETED),
        doctor=("foreign_objects", "zz_{name}"),
        before=(
            "alter table pgsched.executions add column zz_{name} text"
            " check (zz_{name} is not null or task_type <> '{name}')",
        ),
        undo=("alter table pgsched.executions drop column zz_{name}",),
    ),
    Kind(
        name="foreign-key-to-tasks",
        does="a foreign key of a user's table to tasks, with rows",
        fates=(COMPLETED,),
        doctor=("foreign_objects", "zz_{name}"),
        before=("create table public.zz_{name} (task_id bigint references pgsched.tasks)",),
        act=Act(statement="insert into public.zz_{name} select unnest(%(ids)s::bigint[])"),
        undo=("drop table public.zz_{name}",),
    ),
    Kind(
        name="row-security",
        does="a policy of row level security that hides a row from the workers",
        fates=(WAITS,),
        doctor=("foreign_objects", "zz_{name}"),
        before=(
            f"create policy zz_{{name}} on pgsched.tasks to {{role}} using (({MINE}) is not true)",
            "alter table pgsched.tasks enable row level security",
        ),
        undo=("alter table pgsched.tasks disable row level security", "drop policy zz_{name} on pgsched.tasks"),
    ),
    Kind(
        name="row-security-at-claim",
        does="a policy that rejects that a row is claimed",
        fates=(DEAD, SET_ASIDE),
        words="row-level security policy",
        doctor=("foreign_objects", "zz_{name}"),
        before=(
            "create policy zz_{name} on pgsched.tasks to {role} using (true)"
            f" with check (({MINE}) is not true or status not in ('running', 'completed'))",
            "create policy zz_{name}_restricts on pgsched.tasks as restrictive to {role} using (true)"
            f" with check (({MINE}) is not true or status not in ('running', 'completed'))",
            "alter table pgsched.tasks enable row level security",
        ),
        undo=(
            "alter table pgsched.tasks disable row level security",
            "drop policy zz_{name} on pgsched.tasks",
            "drop policy zz_{name}_restricts on pgsched.tasks",
        ),
    ),
    Kind(
        name="publication",
        does="a publication for all tables, as change data capture wants it",
        fates=(COMPLETED,),
        doctor=("foreign_objects", "zz_{name}"),
        before=("create publication zz_{name} for all tables",),
        undo=("drop publication zz_{name}",),
    ),
    Kind(
        name="rule",
        does="a rewrite rule of a user on our log lines",
        fates=(COMPLETED,),
        doctor=("foreign_objects", "zz_{name}"),
        before=("create rule zz_{name} as on insert to pgsched.execution_logs do instead nothing",),
        undo=("drop rule zz_{name} on pgsched.execution_logs",),
    ),
    Kind(
        name="right-taken-away",
        does="the workers' right to write the history is taken away for a second and a half",
        fates=(COMPLETED,),
        handler=slow_victim,
        act=Act(
            statement="revoke insert on pgsched.executions from pgsched_worker",
            afterwards="grant insert on pgsched.executions to pgsched_worker",
            seconds=1.5,
        ),
    ),
)
